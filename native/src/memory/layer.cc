#include "layer.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace virtcft {

namespace {
constexpr size_t kWarmLeast = 4;    // chunks: room for a quiet VM's 1000 pages
constexpr size_t kWarmMost = 64;    // chunks kept for the next capture at most: what a pause may save is not worth more memory
}  // namespace

uint8_t* ChunkPool::allocate() {
  void* chunk = ::mmap(nullptr, kChunkBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (chunk == MAP_FAILED) throw std::bad_alloc();
  ::madvise(chunk, kChunkBytes, MADV_DONTDUMP);  // fails for no mapping of whole pages
  return static_cast<uint8_t*>(chunk);
}

ChunkPool::~ChunkPool() {
  for (uint8_t* chunk : free_) ::munmap(chunk, kChunkBytes);
}

uint8_t* ChunkPool::take() {
  {
    std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      uint8_t* chunk = free_.back();
      free_.pop_back();
      return chunk;
    }
  }
  return allocate();
}

void ChunkPool::give(const std::vector<uint8_t*>& chunks) {
  std::lock_guard lock(mutex_);
  for (uint8_t* chunk : chunks) {
    if (free_.size() < kWarmMost) {
      free_.push_back(chunk);
    } else {
      ::munmap(chunk, kChunkBytes);
    }
  }
}

void ChunkPool::learn(size_t chunks) {
  std::lock_guard lock(mutex_);
  recent_ = std::max(chunks, recent_ - recent_ / 8);  // forgets a burst slowly
}

void ChunkPool::warm() {
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      const size_t wanted = std::clamp(recent_ + recent_ / 2 + 1, kWarmLeast, kWarmMost);
      while (free_.size() > 2 * wanted) {
        ::munmap(free_.back(), kChunkBytes);
        free_.pop_back();
      }
      if (free_.size() >= wanted) return;
    }
    uint8_t* chunk = allocate();
    std::lock_guard lock(mutex_);
    free_.push_back(chunk);
  }
}

Layer::Layer(uint64_t epoch, std::vector<Entry> entries, std::vector<uint8_t*> chunks, std::shared_ptr<ChunkPool> pool)
    : epoch_(epoch), entries_(std::move(entries)), chunks_(std::move(chunks)), pool_(std::move(pool)) {}

Layer::~Layer() { pool_->give(chunks_); }

const std::vector<Layer::Entry>& Layer::entries() const {
  std::call_once(sorted_, [this] {
    std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.page < b.page; });
  });
  return entries_;
}

const uint8_t* Layer::find(PageNumber page) const {
  const auto& sorted = entries();
  const auto found = std::lower_bound(sorted.begin(), sorted.end(), page, [](const Entry& entry, PageNumber p) { return entry.page < p; });
  return found != sorted.end() && found->page == page ? at(*found) : nullptr;
}

OpenLayer::OpenLayer(size_t pages, std::shared_ptr<ChunkPool> pool) : slots_(pages, kNone), pool_(std::move(pool)) {}

OpenLayer::~OpenLayer() { pool_->give(chunks_); }

void OpenLayer::put(PageNumber page, const uint8_t* bytes) {
  uint32_t slot = slots_[page];
  if (slot == kNone) {
    slot = static_cast<uint32_t>(entries_.size());
    if (slot / kChunkPages == chunks_.size()) {
      chunks_.reserve(chunks_.size() + 1);  // so that a taken chunk cannot be lost to a failing push
      chunks_.push_back(pool_->take());
    }
    entries_.push_back({page, slot});
    slots_[page] = slot;
  }
  std::memcpy(at(slot), bytes, kPageBytes);
}

const uint8_t* OpenLayer::find(PageNumber page) const { return slots_[page] == kNone ? nullptr : at(slots_[page]); }

void OpenLayer::forget() {
  for (const auto& entry : entries_) slots_[entry.page] = kNone;
}

std::shared_ptr<const Layer> OpenLayer::seal(uint64_t epoch) {
  forget();
  pool_->learn(chunks_.size());
  std::vector<Layer::Entry> entries;
  std::vector<uint8_t*> chunks;
  entries.swap(entries_);
  chunks.swap(chunks_);
  entries_.reserve(entries.size());
  return std::make_shared<const Layer>(epoch, std::move(entries), std::move(chunks), pool_);
}

void OpenLayer::drop() {
  forget();
  entries_.clear();
  pool_->give(chunks_);
  chunks_.clear();
}

}  // namespace virtcft
