// One bit per block, set and cleared by ranges; guarded by its owner's lock.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace virtcft {

class BlockBits {
 public:
  explicit BlockBits(size_t blocks) : words_((blocks + 63) / 64) {}

  bool test(size_t block) const { return words_[block / 64] >> (block % 64) & 1; }
  bool any(size_t first, size_t count) const {
    bool found = false;
    eachWord(first, count, [&](size_t word, uint64_t mask) { return !(found = (words_[word] & mask) != 0); });
    return found;
  }
  size_t countIn(size_t first, size_t count) const {
    size_t found = 0;
    eachWord(first, count, [&](size_t word, uint64_t mask) {
      found += static_cast<size_t>(__builtin_popcountll(mask & words_[word]));
      return true;
    });
    return found;
  }
  /** Returns how many were clear. */
  size_t set(size_t first, size_t count) {
    size_t added = 0;
    eachWord(first, count, [&](size_t word, uint64_t mask) {
      added += static_cast<size_t>(__builtin_popcountll(mask & ~words_[word]));
      words_[word] |= mask;
      return true;
    });
    return added;
  }
  void clear(size_t first, size_t count) {
    eachWord(first, count, [&](size_t word, uint64_t mask) {
      words_[word] &= ~mask;
      return true;
    });
  }

 private:
  /** `visit` says whether to go on. */
  template <class Visit>
  static void eachWord(size_t first, size_t count, Visit visit) {
    const size_t end = first + count;
    for (size_t at = first; at < end;) {
      const size_t stop = at / 64 * 64 + 64 < end ? at / 64 * 64 + 64 : end;
      const uint64_t mask = (stop - at == 64 ? ~0ull : (1ull << (stop - at)) - 1) << (at % 64);
      if (!visit(at / 64, mask)) return;
      at = stop;
    }
  }
  std::vector<uint64_t> words_;
};

}  // namespace virtcft
