// The files that hold a disk's blocks. Each is as long as the disk and sparse; a version of a block lies in one of them, at the block's own
// offset. So runs stay runs, a slot is never used by another block, and a fold or a rollback copies nothing.
#pragma once
#include <sys/types.h>

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "../memory/descriptor.h"
#include "block_bits.h"
#include "limits.h"
#include "place.h"

namespace virtcft {

/** Which slots are used is guarded by the disk's lock; reading and writing slots is not. */
class Planes {
 public:
  Planes(std::string directory, size_t blocks);

  /** Opens the planes that are there; EBADDISK when one has another length. */
  void open();
  /** A raw file of the disk's length becomes the first plane. */
  void adopt(const std::string& image);

  size_t count() const { return count_; }
  bool has(Place place) const { return place >= 1 && place <= count_; }

  /** A plane in which `first` and the most of the next `count` blocks are free, and how many; makes a plane when needed. None (0, 0) when it cannot. */
  std::pair<Place, size_t> choose(size_t first, size_t count);
  void use(size_t first, size_t count, Place place);
  bool used(size_t first, size_t count, Place place) const { return planes_[place - 1]->used.any(first, count); }
  /** Nobody needs these slots any more. */
  void release(size_t first, size_t count, Place place);

  /** 0, or errno. Bytes of one plane, as of the disk's offset. */
  int write(Place place, const uint8_t* from, size_t length, size_t offset) const;
  int read(Place place, uint8_t* to, size_t length, size_t offset) const;
  /** Takes only what is in the page cache: EAGAIN when that is not all. */
  int readCached(Place place, uint8_t* to, size_t length, size_t offset) const;

  size_t staleBlocks() const { return stale_.load(std::memory_order_relaxed); }
  bool tooStale() const { return staleBlocks() > staleMost_; }
  /** Takes unused slots out of reach, so that they can be punched without the lock; empty when few are stale. `all`: down to none. */
  std::vector<Extent> takeStale(bool all);
  /** Gives the files' room back. */
  void punch(const std::vector<Extent>& taken) const;
  /** After the punch. */
  void putBack(const std::vector<Extent>& taken);
  /** All planes become holes. EIO. */
  void empty();
  /** After a start: what the files hold beyond what is used is stale. */
  void findStale();

 private:
  struct Plane {
    Plane(Descriptor file, size_t blocks) : fd(std::move(file)), used(blocks), held(blocks) {}
    Descriptor fd;
    BlockBits used;
    BlockBits held;  // the file has room for it: used now, or stale
    std::deque<Extent> released;  // oldest first; may name slots that are used again
  };
  bool add();
  std::string pathOf(size_t number) const { return directory_ + "/plane-" + std::to_string(number); }
  bool free(size_t plane, size_t first, size_t count) const { return !planes_[plane]->used.any(first, count); }

  std::string directory_;
  size_t blocks_;
  std::unique_ptr<Plane> planes_[kMostPlanes];
  std::atomic<size_t> count_{0};
  std::atomic<size_t> stale_{0};
  size_t staleMost_;
  mutable std::atomic<bool> cachedWorks_{true};
};

}  // namespace virtcft
