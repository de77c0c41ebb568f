// What one epoch wrote to a disk: which blocks, and where their versions lie.
#pragma once
#include <mutex>
#include <vector>

#include "place.h"

namespace virtcft {

/** Makes extents, of which a later one hides what it covers, sorted and disjoint; neighbours in one plane become one. */
std::vector<Extent> settle(std::vector<Extent> written);

/** One captured epoch's blocks; never changes. */
class DiskLayer {
 public:
  /** `written` in the order of writing; `held`: how many of its `blocks` have bytes of their own. */
  DiskLayer(uint64_t epoch, std::vector<Extent> written, size_t blocks, size_t held)
      : epoch_(epoch), blocks_(blocks), held_(held), extents_(std::move(written)) {}

  uint64_t epoch() const { return epoch_; }
  size_t blocks() const { return blocks_; }
  size_t heldBlocks() const { return held_; }
  /** Sorted and disjoint. Settled at first use, because that is after the pause. */
  const std::vector<Extent>& extents() const;
  /** Puts the places of its blocks within [first, first+count) over `places`. */
  void overlay(size_t first, size_t count, Place* places) const;

 private:
  uint64_t epoch_;
  size_t blocks_;
  size_t held_;
  mutable std::once_flag settled_;
  mutable std::vector<Extent> extents_;
};

/** Takes what is written until the next cut. Guarded by its owner's lock. */
class OpenExtents {
 public:
  void add(size_t first, size_t count, Place place);
  const std::vector<Extent>& written() const { return written_; }
  std::vector<Extent> take();
  void clear() { take(); }

 private:
  std::vector<Extent> written_;
  size_t settledSize_ = 0;
};

}  // namespace virtcft
