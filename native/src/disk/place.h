// Where a version of a block lies: in a plane, at the block's own offset; or nowhere, because it is zero or not there yet.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "../memory/page.h"

namespace virtcft {

using BlockNumber = PageNumber;

/** 0 is zero, 1..64 the planes. */
using Place = uint8_t;
inline constexpr Place kZeroPlace = 0;
inline constexpr Place kAbsentPlace = 255;  // a fill has not brought it yet
inline bool inPlane(Place place) { return place != kZeroPlace && place != kAbsentPlace; }

/** A run of blocks whose versions lie side by side. */
struct Extent {
  BlockNumber first;
  uint32_t count;
  Place place;
  size_t end() const { return size_t{first} + count; }
};

/** A place for every block; zero at first, and then it takes no memory. */
class PlaceMap {
 public:
  explicit PlaceMap(size_t blocks) : blocks_(blocks) {
    void* map = ::mmap(nullptr, blocks, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) throw std::bad_alloc();
    places_ = static_cast<Place*>(map);
  }
  ~PlaceMap() { ::munmap(places_, blocks_); }
  PlaceMap(const PlaceMap&) = delete;
  PlaceMap& operator=(const PlaceMap&) = delete;

  Place operator[](size_t block) const { return places_[block]; }
  const Place* at(size_t block) const { return places_ + block; }
  void fill(size_t first, size_t count, Place place) { std::memset(places_ + first, place, count); }
  /** End of the run of equal places that begins at `first`, at most `end`. */
  size_t runEnd(size_t first, size_t end) const {
    size_t at = first + 1;
    while (at < end && places_[at] == places_[first]) at++;
    return at;
  }

 private:
  size_t blocks_;
  Place* places_;
};

}  // namespace virtcft
