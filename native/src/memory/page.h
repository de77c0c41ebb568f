// Pages: 4096 bytes, named by their number in the guest RAM file.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

namespace virtcft {

using PageNumber = uint32_t;
inline constexpr size_t kPageBytes = 4096;
/** 4 TiB of guest memory: page numbers leave two bits free for a page's kind in a section's index. */
inline constexpr uint64_t kMaxPages = 1ull << 30;

alignas(kPageBytes) inline constexpr uint8_t kZeroPage[kPageBytes] = {};

inline bool samePage(const uint8_t* a, const uint8_t* b) { return a == b || std::memcmp(a, b, kPageBytes) == 0; }
inline bool isZeroPage(const uint8_t* page) { return samePage(page, kZeroPage); }

/** One bit per page; set and tested by several threads (a set bit publishes the page's bytes). */
class PageBits {
 public:
  explicit PageBits(size_t pages) : pages_(pages), words_(new std::atomic<uint64_t>[wordCount()]()) {}

  bool test(size_t page) const { return words_[page / 64].load(std::memory_order_acquire) >> (page % 64) & 1; }
  /** True when the bit was clear before. */
  bool set(size_t page) {
    const uint64_t bit = 1ull << (page % 64);
    if (words_[page / 64].fetch_or(bit, std::memory_order_acq_rel) & bit) return false;
    count_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  void clearAll() {
    for (size_t i = 0; i < wordCount(); i++) words_[i].store(0, std::memory_order_relaxed);
    count_.store(0, std::memory_order_release);
  }
  size_t count() const { return count_.load(std::memory_order_acquire); }
  size_t size() const { return pages_; }
  /** First page >= `from` that is set here and not set in `other`; size() when there is none. */
  size_t firstNotIn(const PageBits& other, size_t from) const {
    for (size_t word = from / 64; word < wordCount(); word++) {
      uint64_t bits = words_[word].load(std::memory_order_acquire) & ~other.words_[word].load(std::memory_order_acquire);
      if (word == from / 64) bits &= ~0ull << (from % 64);
      if (bits) return word * 64 + static_cast<size_t>(__builtin_ctzll(bits));
    }
    return pages_;
  }

 private:
  size_t wordCount() const { return (pages_ + 63) / 64; }
  size_t pages_;
  std::unique_ptr<std::atomic<uint64_t>[]> words_;
  std::atomic<size_t> count_{0};
};

}  // namespace virtcft
