// A page as code: which of its 512 words differ from its parent's (or from zero), and those words. Format: docs/formats/page-section.md.
#pragma once
#include <array>
#include <cstdint>
#include <optional>

#include "../memory/page.h"

namespace virtcft::pagecode {

inline constexpr size_t kWordBytes = 8;
inline constexpr size_t kWords = kPageBytes / kWordBytes;
inline constexpr size_t kGroupWords = 8;
inline constexpr size_t kGroups = kWords / kGroupWords;

/** Where a page's words lie. */
enum class Lane : uint8_t { kPlain = 0, kDense = 1, kNarrow = 2 };
inline constexpr size_t kHeadBytes = 1;
inline constexpr size_t kMostStepBytes = 2 * kGroups;              // a step and a map for every group
inline constexpr size_t kMostNarrowWords = 128;                    // with more words than this a page is no patch any more, and zstd sees more in whole words
inline constexpr size_t kMostNarrowBytes = kMostNarrowWords * 9;
inline constexpr size_t kMostCodeBytes = kHeadBytes + kMostStepBytes + kMostNarrowBytes;

/** Content XOR base, and per group of eight words which are zero in it, and which equal the word before them. */
struct Difference {
  alignas(32) std::array<uint64_t, kWords> words;
  std::array<uint8_t, kGroups> same;
  std::array<uint8_t, kGroups> repeated;
  size_t changed;  // words that are not zero
};

/** `base`: null is zero. `nextContent`, `nextBase`: fetched into the cache meanwhile; null: nothing to fetch. */
void compare(const uint8_t* content, const uint8_t* base, Difference& to, const uint8_t* nextContent = nullptr, const uint8_t* nextBase = nullptr);
/** The portable form; equal for every input (tested). */
void comparePortable(const uint8_t* content, const uint8_t* base, Difference& to);

struct Length {
  size_t steps;  // bytes
  size_t words;  // bytes
};
/** Writes steps (room for kMostStepBytes) and words (room for a page and a group). */
Length encode(const Difference& from, uint8_t* steps, uint8_t* words);

/** Looked at by a sample of its bytes: would zstd find nothing in it? */
bool looksRandom(const uint8_t* bytes, size_t length);
/** Of a page of which most words differ: not by little, by a look at some of them. */
bool differsAtRandom(const Difference& of);

/** Words without their leading and trailing zero bytes (room for 9 bytes a word, and 8 more); returns the bytes written. */
size_t narrow(const uint8_t* words, size_t count, uint8_t* to);

/** What is left to read of one lane. */
struct Cursor {
  const uint8_t* at = nullptr;
  const uint8_t* end = nullptr;
  size_t left() const { return static_cast<size_t>(end - at); }
};

/** Reads one page's code and words into `page` (content XOR base) and moves the cursors behind them; false: it is not exactly so, or does not fit. */
bool decode(Cursor& codes, Cursor& dense, Cursor& plain, uint8_t* page);

}  // namespace virtcft::pagecode
