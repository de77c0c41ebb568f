// Cuts of a disk: seal, fold, rollback, and the content as of an epoch.
#include <algorithm>

#include "../memory/failure.h"
#include "disk_image.h"

namespace virtcft {

std::shared_ptr<const DiskLayer> DiskImage::take(uint64_t epoch) {
  return std::make_shared<const DiskLayer>(epoch, openExtents_.take(), openBlocks_.exchange(0), openHeld_.exchange(0));
}

void DiskImage::addLayer(std::shared_ptr<const DiskLayer> layer) {
  layerCount_++;
  layerHeld_ += layer->heldBlocks();
  layers_.push_back(std::move(layer));
}

size_t DiskImage::seal(uint64_t epoch) {
  std::lock_guard lock(mutex_);
  if (epoch <= newestEpoch()) {
    throw Failure(code::kEpoch, "cannot capture epoch " + std::to_string(epoch) + ": epoch " + std::to_string(newestEpoch()) + " is captured already");
  }
  if (layers_.size() >= kMostLayers) {
    throw Failure(code::kState, "cannot capture epoch " + std::to_string(epoch) + ": " + std::to_string(layers_.size()) + " layers wait for a commit, fold or roll back first");
  }
  static_cast<void>(journal_.reserve(1));  // where there is no room the write says so
  journal_.add({.change = Change::kSeal, .epoch = epoch});
  journal_.write();
  uncommitted_ = false;
  clearSpare();  // nothing, when `warm` had its turn
  std::swap(open_, spare_);
  addLayer(take(epoch));
  spareDirt_ = layers_.back();
  return layers_.back()->blocks();
}

void DiskImage::warm() {
  std::vector<std::shared_ptr<const DiskLayer>> layers;
  {
    std::lock_guard lock(mutex_);
    layers = layers_;
  }
  for (const auto& layer : layers) layer->extents();
  std::lock_guard lock(mutex_);
  clearSpare();
}

void DiskImage::clearSpare() {
  if (!spareDirt_) return;
  for (const Extent& extent : spareDirt_->extents()) spare_.clear(extent.first, extent.count);
  spareDirt_ = nullptr;
}

void DiskImage::setBase(size_t first, size_t count, Place place) {
  if (inPlane(place)) baseBlocks_ += count;
  for (size_t at = first, end = first + count; at < end;) {
    const size_t stop = base_.runEnd(at, end);
    if (base_[at] == kAbsentPlace) presentBlocks_ += stop - at;
    at = stop;
  }
  base_.fill(first, count, place);
  if (layers_.empty() && openExtents_.written().empty()) {
    newest_.fill(first, count, place);
    return;
  }
  for (size_t block = first; block < first + count; block++) {
    if (newest_[block] == kAbsentPlace) newest_.fill(block, 1, place);
  }
}

void DiskImage::foldExtent(const Extent& extent) {
  for (size_t at = extent.first, end = extent.end(); at < end;) {
    const size_t stop = base_.runEnd(at, end);
    if (inPlane(base_[at])) {
      planes_.release(at, stop - at, base_[at]);
      baseBlocks_ -= stop - at;
    }
    if (base_[at] == kAbsentPlace) presentBlocks_ += stop - at;
    at = stop;
  }
  base_.fill(extent.first, extent.count, extent.place);
  if (inPlane(extent.place)) baseBlocks_ += extent.count;
}

void DiskImage::removeFolded(uint64_t epoch) {
  while (!layers_.empty() && layers_.front()->epoch() <= epoch) {
    layerCount_--;
    layerHeld_ -= layers_.front()->heldBlocks();
    layers_.erase(layers_.begin());
  }
}

size_t DiskImage::fold(uint64_t epoch) {
  std::lock_guard base(baseMutex_);
  std::vector<std::shared_ptr<const DiskLayer>> folding;
  {
    std::lock_guard lock(mutex_);
    if (epoch > newestEpoch()) {
      throw Failure(code::kEpoch, "cannot fold epoch " + std::to_string(epoch) + ": the newest captured one is " + std::to_string(newestEpoch()));
    }
    if (epoch <= baseEpoch_) return 0;
    for (const auto& layer : layers_) {
      if (layer->epoch() <= epoch) folding.push_back(layer);
    }
    static_cast<void>(journal_.reserve(1));
    journal_.add({.change = Change::kFold, .epoch = epoch});
    journal_.write();  // before a slot that the old base needs is free for others
    uncommitted_ = false;
    baseEpoch_ = epoch;
    frees_++;
  }
  size_t blocks = 0;
  for (const auto& layer : folding) {
    const auto& extents = layer->extents();
    for (size_t i = 0; i < extents.size();) {
      std::lock_guard lock(mutex_);
      for (size_t turn = 0; i < extents.size() && turn < kBlocksPerTurn; i++) {
        foldExtent(extents[i]);
        turn += std::max<size_t>(extents[i].count / 64, 16);  // a long run is cheaper by the block
      }
    }
    blocks += layer->blocks();
  }
  {
    std::lock_guard lock(mutex_);
    removeFolded(epoch);
    noteTidiness();
  }
  return blocks;
}

size_t DiskImage::drop(uint64_t epoch) {
  const std::shared_ptr<const DiskLayer> open = take(~0ull);
  for (const Extent& extent : open->extents()) open_.clear(extent.first, extent.count);
  std::vector<std::shared_ptr<const DiskLayer>> dropped{open};
  while (!layers_.empty() && layers_.back()->epoch() > epoch) {
    dropped.push_back(layers_.back());
    layerCount_--;
    layerHeld_ -= layers_.back()->heldBlocks();
    layers_.pop_back();
  }
  std::vector<Extent> touched;
  for (const auto& layer : dropped) {
    for (const Extent& extent : layer->extents()) {
      if (inPlane(extent.place)) planes_.release(extent.first, extent.count, extent.place);
      touched.push_back({extent.first, extent.count, kZeroPlace});
    }
  }
  touched = settle(std::move(touched));
  size_t blocks = 0;
  std::vector<Place> places(kBlocksPerTurn);
  for (const Extent& extent : touched) {
    for (size_t at = extent.first; at < extent.end(); at += kBlocksPerTurn) {
      const size_t count = std::min(kBlocksPerTurn, extent.end() - at);
      placesAt(epoch, at, count, places.data());
      for (size_t i = 0; i < count; i++) newest_.fill(at + i, 1, places[i]);
    }
    blocks += extent.count;
  }
  return blocks;
}

size_t DiskImage::rollback(uint64_t epoch) {
  std::lock_guard lock(mutex_);
  requireHeld(epoch);
  static_cast<void>(journal_.reserve(1));
  journal_.add({.change = Change::kRollback, .epoch = epoch});
  journal_.write();
  uncommitted_ = false;
  frees_++;
  const size_t blocks = drop(epoch);
  noteTidiness();
  return blocks;
}

void DiskImage::placesAt(uint64_t epoch, size_t first, size_t count, Place* places) const {
  std::memcpy(places, base_.at(first), count);
  for (const auto& layer : layers_) {
    if (layer->epoch() <= epoch) layer->overlay(first, count, places);
  }
}

std::vector<Extent> DiskImage::writtenIn(uint64_t parent, uint64_t epoch) const {
  std::vector<std::shared_ptr<const DiskLayer>> layers;
  {
    std::lock_guard lock(mutex_);
    requireHeld(epoch);
    requireHeld(parent);
    for (const auto& layer : layers_) {
      if (layer->epoch() > parent && layer->epoch() <= epoch) layers.push_back(layer);
    }
  }
  std::vector<Extent> written;
  for (const auto& layer : layers) {
    for (const Extent& extent : layer->extents()) written.push_back({extent.first, extent.count, kZeroPlace});
  }
  return settle(std::move(written));
}

bool DiskImage::contentAt(uint64_t epoch, size_t first, size_t count, uint8_t* to, std::vector<Place>& places) const {
  places.resize(count);
  for (;;) {
    uint64_t frees;
    {
      std::lock_guard lock(mutex_);
      requireHeld(epoch);
      frees = frees_.load();
      placesAt(epoch, first, count, places.data());
    }
    if (std::memchr(places.data(), kAbsentPlace, count)) throw Failure(code::kState, "the base is not complete: this needs every block, wait until the fill is done");
    int error = 0;
    bool zero = true;
    for (size_t at = 0; at < count && error == 0;) {
      size_t end = at + 1;
      while (end < count && places[end] == places[at]) end++;
      zero = zero && places[at] == kZeroPlace;
      if (places[at] == kZeroPlace) {
        std::memset(to + at * kPageBytes, 0, (end - at) * kPageBytes);
      } else {
        error = planes_.read(places[at], to + at * kPageBytes, (end - at) * kPageBytes, (first + at) * kPageBytes);
      }
      at = end;
    }
    if (frees_.load() != frees) continue;
    if (error != 0) failWith(code::kIo, "read the disk in " + directory_, error);
    return !zero;
  }
}

}  // namespace virtcft
