#include "disk_layer.h"

#include <algorithm>
#include <map>

namespace virtcft {

namespace {

constexpr size_t kFlipsKept = 4096;  // entries that a later one may hide before the list is settled

bool touches(const Extent& before, const Extent& after) { return before.end() == after.first && before.place == after.place; }

/** Sorted extents without overlap. */
std::vector<Extent> merged(const std::vector<Extent>& sorted) {
  std::vector<Extent> extents;
  for (const Extent& extent : sorted) {
    if (!extents.empty() && touches(extents.back(), extent)) {
      extents.back().count += extent.count;
    } else {
      extents.push_back(extent);
    }
  }
  return extents;
}

class Painting {
 public:
  void paint(const Extent& extent) {
    auto next = runs_.upper_bound(extent.first);
    if (next != runs_.begin()) {
      auto before = std::prev(next);
      const Extent old = before->second;
      if (old.end() > extent.first) {
        before->second.count = extent.first - old.first;
        if (before->second.count == 0) runs_.erase(before);
        if (old.end() > extent.end()) put(extent.end(), old.end(), old.place);
      }
    }
    for (next = runs_.lower_bound(extent.first); next != runs_.end() && next->first < extent.end(); next = runs_.erase(next)) {
      const Extent old = next->second;
      if (old.end() > extent.end()) put(extent.end(), old.end(), old.place);
    }
    runs_[extent.first] = extent;
  }
  std::vector<Extent> finish() const {
    std::vector<Extent> sorted;
    for (const auto& [first, extent] : runs_) sorted.push_back(extent);
    return merged(sorted);
  }

 private:
  void put(size_t first, size_t end, Place place) {
    runs_[static_cast<BlockNumber>(first)] = {static_cast<BlockNumber>(first), static_cast<uint32_t>(end - first), place};
  }
  std::map<BlockNumber, Extent> runs_;
};

}  // namespace

std::vector<Extent> settle(std::vector<Extent> written) {
  std::vector<Extent> sorted = written;
  std::sort(sorted.begin(), sorted.end(), [](const Extent& a, const Extent& b) { return a.first < b.first; });
  const auto overlap = std::adjacent_find(sorted.begin(), sorted.end(), [](const Extent& a, const Extent& b) { return a.end() > b.first; });
  if (overlap == sorted.end()) return merged(sorted);
  Painting painting;
  for (const Extent& extent : written) painting.paint(extent);
  return painting.finish();
}

const std::vector<Extent>& DiskLayer::extents() const {
  std::call_once(settled_, [this] { extents_ = settle(std::move(extents_)); });
  return extents_;
}

void DiskLayer::overlay(size_t first, size_t count, Place* places) const {
  const auto& sorted = extents();
  auto at = std::partition_point(sorted.begin(), sorted.end(), [first](const Extent& extent) { return extent.end() <= first; });
  for (; at != sorted.end() && at->first < first + count; ++at) {
    const size_t from = std::max<size_t>(at->first, first);
    const size_t to = std::min(at->end(), first + count);
    std::memset(places + (from - first), at->place, to - from);
  }
}

void OpenExtents::add(size_t first, size_t count, Place place) {
  const Extent extent{static_cast<BlockNumber>(first), static_cast<uint32_t>(count), place};
  if (!written_.empty() && touches(written_.back(), extent)) {
    written_.back().count += extent.count;
    return;
  }
  written_.push_back(extent);
  if (written_.size() > 2 * settledSize_ + kFlipsKept) {  // a guest that zeroes and writes the same blocks again and again
    written_ = settle(std::move(written_));
    settledSize_ = written_.size();
  }
}

std::vector<Extent> OpenExtents::take() {
  std::vector<Extent> taken;
  taken.swap(written_);
  settledSize_ = 0;
  return taken;
}

}  // namespace virtcft
