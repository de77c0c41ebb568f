// What the agent knows of one VM's memory: the base and the layers on it (R1).
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <vector>

#include "layer.h"
#include "page.h"

namespace virtcft {

class Image;

/** The content as of one epoch. Valid while the base is not folded into: hold the image's `reading()` lock. */
class View {
 public:
  /** Never null: the newest layer that holds the page, else the base. */
  const uint8_t* content(PageNumber page) const {
    for (size_t i = layers_.size(); i-- > 0;) {
      if (const uint8_t* bytes = layers_[i]->find(page)) return bytes;
    }
    return base_ + size_t{page} * kPageBytes;
  }
  /** False when the page is zero for sure, without reading it. */
  bool mayHold(PageNumber page) const;
  const std::vector<std::shared_ptr<const Layer>>& layers() const { return layers_; }
  /** True when some layer holds the page. */
  bool layered(PageNumber page) const {
    for (const auto& layer : layers_) {
      if (layer->find(page)) return true;
    }
    return false;
  }
  const uint8_t* base() const { return base_; }

 private:
  friend class Image;
  const Image* image_ = nullptr;
  const uint8_t* base_ = nullptr;
  std::vector<std::shared_ptr<const Layer>> layers_;  // rising epochs
};

class Image {
 public:
  explicit Image(size_t pages);
  ~Image();
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  size_t pages() const { return pages_; }
  uint64_t baseEpoch() const;
  uint64_t newestEpoch() const;
  /** Content as of `epoch`; EEPOCH when that is neither the base's epoch nor a layer's. */
  View at(uint64_t epoch) const;
  View newest() const;

  /** While held, the base does not change under a view. */
  std::shared_lock<std::shared_mutex> reading() const { return std::shared_lock(baseMutex_); }

  void push(std::shared_ptr<const Layer> layer);
  /** Puts pages into the base of an image without layers, as `content` gives them. */
  void seed(std::span<const PageNumber> pages, const std::function<const uint8_t*(PageNumber)>& content);
  /** Whether the base holds any of pages [first, first + count). */
  bool holdsAny(PageNumber first, size_t count) const;
  /** Folds layers <= epoch into the base; returns the pages written. */
  size_t fold(uint64_t epoch);
  /** Drops layers > epoch. */
  void dropAfter(uint64_t epoch);

  /** An incomplete base: only pages marked present are known. */
  void beginIncomplete(uint64_t epoch);
  bool complete() const { return complete_.load(std::memory_order_acquire); }
  bool present(PageNumber page) const { return complete() || present_.test(page); }
  const PageBits& presentPages() const { return present_; }
  /** Puts one page's content (null: zero) into an incomplete base; false when it was there already. */
  bool supply(PageNumber page, const uint8_t* bytes);
  /** What is not present is zero. Returns how many pages that were. */
  size_t supplyRestAsZero();

  struct Held {
    size_t base_bytes;
    size_t layer_bytes;
    size_t layers;
  };
  Held held() const;

 private:
  friend class View;
  void writeBase(PageNumber page, const uint8_t* bytes);

  size_t pages_;
  uint8_t* base_;
  PageBits held_;     // base pages that were ever written; the others are zero and take no memory
  PageBits present_;  // while incomplete
  std::atomic<bool> complete_{true};
  mutable std::shared_mutex baseMutex_;
  mutable std::mutex layersMutex_;
  uint64_t baseEpoch_ = 0;
  std::vector<std::shared_ptr<const Layer>> layers_;
};

inline bool View::mayHold(PageNumber page) const { return image_->held_.test(page) || layered(page); }

}  // namespace virtcft
