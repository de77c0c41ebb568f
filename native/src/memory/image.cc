#include "image.h"

#include <sys/mman.h>

#include <new>
#include <string>

#include "failure.h"

namespace virtcft {

Image::Image(size_t pages) : pages_(pages), held_(pages), present_(pages) {
  void* map = ::mmap(nullptr, pages * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) throw std::bad_alloc();
  base_ = static_cast<uint8_t*>(map);
  if (::madvise(map, pages * kPageBytes, MADV_DONTDUMP) != 0) failWith(code::kNoMemory, "keep the base out of core dumps");
}

Image::~Image() { ::munmap(base_, pages_ * kPageBytes); }

uint64_t Image::baseEpoch() const {
  std::lock_guard lock(layersMutex_);
  return baseEpoch_;
}

uint64_t Image::newestEpoch() const {
  std::lock_guard lock(layersMutex_);
  return layers_.empty() ? baseEpoch_ : layers_.back()->epoch();
}

View Image::at(uint64_t epoch) const {
  std::lock_guard lock(layersMutex_);
  View view;
  view.image_ = this;
  view.base_ = base_;
  bool known = epoch == baseEpoch_;
  for (const auto& layer : layers_) {
    if (layer->epoch() > epoch) break;
    view.layers_.push_back(layer);
    known = layer->epoch() == epoch;
  }
  if (!known) {
    const uint64_t newest = layers_.empty() ? baseEpoch_ : layers_.back()->epoch();
    throw Failure(code::kEpoch, "memory of epoch " + std::to_string(epoch) + " is not held: the base is at epoch " + std::to_string(baseEpoch_) +
                                    ", the newest captured one is " + std::to_string(newest));
  }
  return view;
}

View Image::newest() const {
  std::lock_guard lock(layersMutex_);
  View view;
  view.image_ = this;
  view.base_ = base_;
  view.layers_ = layers_;
  return view;
}

void Image::push(std::shared_ptr<const Layer> layer) {
  std::lock_guard lock(layersMutex_);
  layers_.push_back(std::move(layer));
}

void Image::writeBase(PageNumber page, const uint8_t* bytes) {
  if (!held_.test(page)) {
    if (isZeroPage(bytes)) return;
    held_.set(page);
  }
  std::memcpy(base_ + size_t{page} * kPageBytes, bytes, kPageBytes);
}

void Image::seed(std::span<const PageNumber> pages, const std::function<const uint8_t*(PageNumber)>& content) {
  std::unique_lock writing(baseMutex_);
  for (const PageNumber page : pages) writeBase(page, content(page));
}

bool Image::holdsAny(PageNumber first, size_t count) const {
  for (size_t page = first; page < first + count; page++) {
    if (held_.test(page)) return true;
  }
  return false;
}

size_t Image::fold(uint64_t epoch) {
  std::unique_lock writing(baseMutex_);
  std::vector<std::shared_ptr<const Layer>> folding;
  {
    std::lock_guard lock(layersMutex_);
    const uint64_t newest = layers_.empty() ? baseEpoch_ : layers_.back()->epoch();
    if (epoch > newest) {
      throw Failure(code::kEpoch, "cannot fold epoch " + std::to_string(epoch) + ": the newest captured one is " + std::to_string(newest));
    }
    for (const auto& layer : layers_) {
      if (layer->epoch() <= epoch) folding.push_back(layer);
    }
  }
  size_t pages = 0;
  for (const auto& layer : folding) {
    for (const auto& entry : layer->entries()) writeBase(entry.page, layer->at(entry));
    pages += layer->size();
  }
  std::lock_guard lock(layersMutex_);
  layers_.erase(layers_.begin(), layers_.begin() + static_cast<ptrdiff_t>(folding.size()));
  if (epoch > baseEpoch_) baseEpoch_ = epoch;
  return pages;
}

void Image::dropAfter(uint64_t epoch) {
  std::lock_guard lock(layersMutex_);
  while (!layers_.empty() && layers_.back()->epoch() > epoch) layers_.pop_back();
}

void Image::beginIncomplete(uint64_t epoch) {
  std::unique_lock writing(baseMutex_);
  std::lock_guard lock(layersMutex_);
  layers_.clear();
  if (::madvise(base_, pages_ * kPageBytes, MADV_DONTNEED) != 0) failWith(code::kNoMemory, "empty the base");
  held_.clearAll();
  present_.clearAll();
  baseEpoch_ = epoch;
  complete_.store(false, std::memory_order_release);
}

bool Image::supply(PageNumber page, const uint8_t* bytes) {
  if (present(page)) return false;
  if (bytes) writeBase(page, bytes);
  present_.set(page);
  if (present_.count() == pages_) complete_.store(true, std::memory_order_release);
  return true;
}

size_t Image::supplyRestAsZero() {
  size_t zero = 0;
  for (size_t page = 0; page < pages_ && !complete(); page++) zero += supply(static_cast<PageNumber>(page), nullptr);
  return zero;
}

Image::Held Image::held() const {
  std::lock_guard lock(layersMutex_);
  Held held{held_.count() * kPageBytes, 0, layers_.size()};
  for (const auto& layer : layers_) held.layer_bytes += layer->bytes();
  return held;
}

}  // namespace virtcft
