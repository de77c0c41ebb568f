// Captured pages: chunks of memory that are warm before the pause, the open layer that takes copies, and immutable layers.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "page.h"

namespace virtcft {

inline constexpr size_t kChunkPages = 256;  // 1 MiB: small enough that a quiet VM's layer wastes little
inline constexpr size_t kChunkBytes = kChunkPages * kPageBytes;

/**
 * Chunks, allocated and touched before they are needed: a pause must neither allocate nor take page faults. Freed chunks come back here.
 */
class ChunkPool {
 public:
  ~ChunkPool();
  uint8_t* take();
  void give(const std::vector<uint8_t*>& chunks);
  /** Off the pause: makes the pool ready for a capture like the last ones, and gives back what is far more than that. */
  void warm();
  /** How many chunks the last layer took, to size the next. */
  void learn(size_t chunks);

 private:
  static uint8_t* allocate();
  std::mutex mutex_;
  std::vector<uint8_t*> free_;
  size_t recent_ = 0;
};

/** One captured epoch's pages; never changes. */
class Layer {
 public:
  struct Entry {
    PageNumber page;
    uint32_t slot;
  };
  Layer(uint64_t epoch, std::vector<Entry> entries, std::vector<uint8_t*> chunks, std::shared_ptr<ChunkPool> pool);
  ~Layer();
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  uint64_t epoch() const { return epoch_; }
  size_t size() const { return entries_.size(); }
  size_t bytes() const { return chunks_.size() * kChunkBytes; }
  /** Rising page numbers. Sorted at first use, because that is after the pause. */
  const std::vector<Entry>& entries() const;
  const uint8_t* at(const Entry& entry) const { return chunks_[entry.slot / kChunkPages] + entry.slot % kChunkPages * kPageBytes; }
  /** Null when the layer does not hold the page. */
  const uint8_t* find(PageNumber page) const;

 private:
  uint64_t epoch_;
  mutable std::once_flag sorted_;
  mutable std::vector<Entry> entries_;
  std::vector<uint8_t*> chunks_;
  std::shared_ptr<ChunkPool> pool_;
};

/** Takes copies of pages; a page put twice keeps its newest content. */
class OpenLayer {
 public:
  OpenLayer(size_t pages, std::shared_ptr<ChunkPool> pool);
  ~OpenLayer();

  void put(PageNumber page, const uint8_t* bytes);
  const uint8_t* find(PageNumber page) const;
  size_t size() const { return entries_.size(); }
  const std::vector<Layer::Entry>& entries() const { return entries_; }
  /** Becomes the layer `epoch`; this one is empty again. */
  std::shared_ptr<const Layer> seal(uint64_t epoch);
  void drop();

 private:
  uint8_t* at(uint32_t slot) const { return chunks_[slot / kChunkPages] + slot % kChunkPages * kPageBytes; }
  void forget();
  static constexpr uint32_t kNone = ~0u;
  std::vector<uint32_t> slots_;  // by page: its slot, or none
  std::vector<Layer::Entry> entries_;
  std::vector<uint8_t*> chunks_;
  std::shared_ptr<ChunkPool> pool_;
};

}  // namespace virtcft
