// A page as a change to its parent: which of its 512 words differ, and those words XOR the parent's. Format: docs/formats/page-section.md.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>

#include "../memory/page.h"

namespace virtcft::patch {

inline constexpr size_t kWordBytes = 8;
inline constexpr size_t kWords = kPageBytes / kWordBytes;
inline constexpr size_t kMapBytes = kWords / 8;
/** With more words changed than this the page is as well written anew: it needs no parent then. */
inline constexpr size_t kMostWords = kWords / 2;
inline constexpr size_t kMostBytes = kMapBytes + kMostWords * kWordBytes;

/** Eight words at once: most of a page has not changed, and is only looked at. */
using Group = uint64_t __attribute__((vector_size(64)));

inline bool anyOf(const Group& words) {
  using Half = uint64_t __attribute__((vector_size(16)));
  Half parts[4];
  std::memcpy(parts, &words, sizeof parts);
  const Half any = (parts[0] | parts[1]) | (parts[2] | parts[3]);
  return (any[0] | any[1]) != 0;
}

/** Bytes written to `to` (room for kMostBytes and a group of eight words), `kMapBytes` when nothing differs; 0: more than kMostWords do. */
inline size_t make(const uint8_t* content, const uint8_t* parent, uint8_t* to) {
  uint8_t* at = to + kMapBytes;
  const uint8_t* const end = to + kMostBytes;
  for (size_t group = 0; group < kMapBytes; group++) {
    Group changed, old;
    std::memcpy(&changed, content + group * sizeof changed, sizeof changed);
    std::memcpy(&old, parent + group * sizeof old, sizeof old);
    changed ^= old;
    uint8_t bits = 0;
    if (anyOf(changed)) {
      if (at > end) return 0;
      for (size_t i = 0; i < 8; i++) {
        const uint64_t word = changed[i];
        std::memcpy(at, &word, kWordBytes);
        const bool differs = word != 0;
        at += differs ? kWordBytes : 0;
        bits |= static_cast<uint8_t>(differs) << i;
      }
    }
    to[group] = bits;
  }
  return at > end ? 0 : static_cast<size_t>(at - to);
}

/** Length of the patch at `from`, of which `left` bytes can be read; 0: it does not fit, or is longer than a patch may be. */
inline size_t lengthOf(const uint8_t* from, size_t left) {
  if (left < kMapBytes) return 0;
  size_t words = 0;
  for (size_t i = 0; i < kMapBytes; i += 8) {
    uint64_t bits;
    std::memcpy(&bits, from + i, sizeof bits);
    words += static_cast<size_t>(std::popcount(bits));
  }
  const size_t length = kMapBytes + words * kWordBytes;
  return words > kMostWords || length > left ? 0 : length;
}

/** `page` is the parent, and becomes the content. The patch is one whose length was looked at. */
inline void apply(const uint8_t* from, uint8_t* page) {
  const uint8_t* at = from + kMapBytes;
  for (size_t group = 0; group < kMapBytes; group++) {
    for (uint8_t bits = from[group]; bits != 0; bits &= static_cast<uint8_t>(bits - 1)) {
      uint8_t* to = page + (group * 8 + static_cast<size_t>(std::countr_zero(bits))) * kWordBytes;
      uint64_t word, change;
      std::memcpy(&word, to, kWordBytes);
      std::memcpy(&change, at, kWordBytes);
      word ^= change;
      std::memcpy(to, &word, kWordBytes);
      at += kWordBytes;
    }
  }
}

}  // namespace virtcft::patch
