// A VM's memory at one cut, folded into a sparse file of its own.
#pragma once
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "../memory/descriptor.h"
#include "section.h"

namespace virtcft {

/** Holes are zero pages. Written with pwrite, never through a mapping: a full disk must be an error, not a signal. */
class ReplicaImage {
 public:
  /** Opens or makes the file, of exactly `bytes`. */
  ReplicaImage(const std::string& path, size_t bytes);

  size_t pages() const { return bytes_ / kPageBytes; }
  /** Validates the whole section first: a refused one changes nothing. Returns its pages. EIO can leave the file half changed: fold it anew then. */
  size_t apply(std::span<const uint8_t> section);
  std::vector<uint8_t> read(size_t first, size_t count);
  /** Ranges of pages that are not zero: first, count, first, count ... */
  std::vector<uint32_t> extents();
  std::string digest();
  void sync();

  using PageSink = std::function<void(PageNumber, PageKind, const uint8_t*)>;

 private:
  /** Writes the pages that `each` gives: after a full section, what it does not give is zero. */
  void write(bool full, const std::function<void(const PageSink&)>& each);
  void eachPage(size_t first, size_t count, const std::function<void(PageNumber, const uint8_t*)>& page);
  void load(size_t first, size_t count, uint8_t* to);
  void store(size_t first, size_t count, const uint8_t* from);
  void punch(size_t first, size_t count);

  std::mutex mutex_;
  Descriptor fd_;
  size_t bytes_;
  std::string path_;
};

}  // namespace virtcft
