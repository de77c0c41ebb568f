#include "page_code.h"

#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace virtcft::pagecode {

namespace {

/** What a step says of one to 32 groups. */
enum Step : uint8_t { kSame = 0, kRepeat = 1, kWords8 = 2, kSparse = 3, kFollow = 4 };
constexpr unsigned kCountBits = 5;
constexpr unsigned kMostCount = 1u << kCountBits;

constexpr size_t kSampledWords = 16;   // 128 bytes: of as many random ones 101 are different
constexpr int kRandomDifferent = 88;   // text, pointers and code stay far below this
constexpr size_t kRandomLeast = 512;   // bytes: of less a sample says little, and zstd costs little

/** Bits set: the compiler's own calls a function where it may not assume the instruction. */
constexpr std::array<uint8_t, 256> kBits = [] {
  std::array<uint8_t, 256> bits{};
  for (size_t value = 1; value < bits.size(); value++) bits[value] = static_cast<uint8_t>(bits[value / 2] + value % 2);
  return bits;
}();

#if defined(__x86_64__)
__attribute__((target("avx2"))) void compareAvx2(const uint8_t* content, const uint8_t* base, Difference& to, const uint8_t* nextContent, const uint8_t* nextBase) {
  const __m256i zero = _mm256_setzero_si256();
  __m256i before = zero;
  size_t same = 0;
  const auto zeroWords = [](__m256i equal) __attribute__((target("avx2"))) { return static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(equal))); };
  for (size_t group = 0; group < kGroups; group++) {
    const size_t at = group * kGroupWords * kWordBytes;
    if (nextContent) _mm_prefetch(reinterpret_cast<const char*>(nextContent + at), _MM_HINT_T0);
    if (nextBase) _mm_prefetch(reinterpret_cast<const char*>(nextBase + at), _MM_HINT_T0);
    __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(content + at));
    __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(content + at + 32));
    if (base) {
      low = _mm256_xor_si256(low, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(base + at)));
      high = _mm256_xor_si256(high, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(base + at + 32)));
    }
    const __m256i any = _mm256_or_si256(low, high);
    if (_mm256_testz_si256(any, any)) {  // most of a page has not changed, and is only looked at
      to.same[group] = 0xff;
      before = zero;
      same += kGroupWords;
      continue;
    }
    _mm256_store_si256(reinterpret_cast<__m256i*>(&to.words[group * kGroupWords]), low);
    _mm256_store_si256(reinterpret_cast<__m256i*>(&to.words[group * kGroupWords + 4]), high);
    const __m256i lowBefore = _mm256_alignr_epi8(low, _mm256_permute2x128_si256(before, low, 0x21), 8);
    const __m256i highBefore = _mm256_alignr_epi8(high, _mm256_permute2x128_si256(low, high, 0x21), 8);
    const unsigned zeros = zeroWords(_mm256_cmpeq_epi64(low, zero)) | zeroWords(_mm256_cmpeq_epi64(high, zero)) << 4;
    const unsigned repeated = zeroWords(_mm256_cmpeq_epi64(low, lowBefore)) | zeroWords(_mm256_cmpeq_epi64(high, highBefore)) << 4;
    to.same[group] = static_cast<uint8_t>(zeros);
    to.repeated[group] = static_cast<uint8_t>(repeated);
    same += kBits[zeros];
    before = high;
  }
  to.changed = kWords - same;
}
#endif

}  // namespace

void comparePortable(const uint8_t* content, const uint8_t* base, Difference& to) {
  uint64_t before = 0;
  to.changed = 0;
  for (size_t group = 0; group < kGroups; group++) {
    unsigned same = 0, repeated = 0;
    for (size_t i = 0; i < kGroupWords; i++) {
      const size_t at = group * kGroupWords + i;
      uint64_t word, old = 0;
      std::memcpy(&word, content + at * kWordBytes, kWordBytes);
      if (base) std::memcpy(&old, base + at * kWordBytes, kWordBytes);
      word ^= old;
      same |= static_cast<unsigned>(word == 0) << i;
      repeated |= static_cast<unsigned>(word == before) << i;
      to.changed += word != 0;
      to.words[at] = before = word;
    }
    to.same[group] = static_cast<uint8_t>(same);
    to.repeated[group] = static_cast<uint8_t>(repeated);
  }
}

void compare(const uint8_t* content, const uint8_t* base, Difference& to, const uint8_t* nextContent, const uint8_t* nextBase) {
#if defined(__x86_64__)
  static const bool avx2 = __builtin_cpu_supports("avx2");
  if (avx2) return compareAvx2(content, base, to, nextContent, nextBase);
#endif
  comparePortable(content, base, to);
}

Length encode(const Difference& from, uint8_t* steps, uint8_t* words) {
  uint8_t* at = steps;
  uint8_t* word = words;
  uint8_t* last = nullptr;
  unsigned step = 0, count = kMostCount;
  const auto say = [&](unsigned what) {
    if (what != step || count == kMostCount) {
      step = what;
      count = 0;
      last = at++;
    }
    *last = static_cast<uint8_t>(step << kCountBits | count++);
  };
  for (size_t group = 0; group < kGroups; group++) {
    const unsigned same = from.same[group];
    if (same == 0xff) {
      say(kSame);
      continue;
    }
    const unsigned repeated = from.repeated[group];
    if (repeated == 0xff) {
      say(kRepeat);
      continue;
    }
    const uint64_t* source = &from.words[group * kGroupWords];
    if ((same | repeated) == 0) {
      say(kWords8);
      std::memcpy(word, source, kGroupWords * kWordBytes);
      word += kGroupWords * kWordBytes;
      continue;
    }
    const bool follows = kBits[repeated] > kBits[same];
    unsigned given = 0xff & ~(follows ? repeated : same);
    say(follows ? kFollow : kSparse);
    *at++ = static_cast<uint8_t>(given);
    for (; given != 0; given &= given - 1) {
      std::memcpy(word, source + std::countr_zero(given), kWordBytes);
      word += kWordBytes;
    }
  }
  return {static_cast<size_t>(at - steps), static_cast<size_t>(word - words)};
}

bool looksRandom(const uint8_t* bytes, size_t length) {
  if (length < kRandomLeast) return false;
  uint64_t seen[4] = {};
  const size_t stride = length / kWordBytes / kSampledWords * kWordBytes;
  for (size_t i = 0; i < kSampledWords; i++) {
    uint64_t word;
    std::memcpy(&word, bytes + i * stride, kWordBytes);
    for (size_t byte = 0; byte < kWordBytes; byte++, word >>= 8) seen[word >> 6 & 3] |= uint64_t{1} << (word & 63);
  }
  return std::popcount(seen[0]) + std::popcount(seen[1]) + std::popcount(seen[2]) + std::popcount(seen[3]) >= kRandomDifferent;
}

bool differsAtRandom(const Difference& of) {
  size_t looked = 0, narrow = 0;
  for (size_t group = 0; group < kGroups && looked < kSampledWords; group++) {
    if ((of.same[group] | of.repeated[group]) != 0) continue;
    const uint64_t word = of.words[group * kGroupWords];
    narrow += word >> 56 == 0 || (word & 0xff) == 0;  // of one in 128 random words
    looked++;
  }
  return looked == kSampledWords && narrow <= kSampledWords / 8;
}

size_t narrow(const uint8_t* words, size_t count, uint8_t* to) {
  uint8_t* at = to;
  for (size_t i = 0; i < count; i++) {
    uint64_t word;
    std::memcpy(&word, words + i * kWordBytes, kWordBytes);
    if (word == 0) {
      *at++ = 0;
      continue;
    }
    const auto skipped = static_cast<unsigned>(std::countr_zero(word)) / 8;
    const unsigned length = 8 - skipped - static_cast<unsigned>(std::countl_zero(word)) / 8;
    word >>= 8 * skipped;
    *at++ = static_cast<uint8_t>(skipped << 4 | length);
    std::memcpy(at, &word, kWordBytes);
    at += length;
  }
  return static_cast<size_t>(at - to);
}

namespace {

/** Bytes of the steps at `from`, which cover a page exactly, and the words they ask for; none: they are not so. */
std::optional<Length> measure(const Cursor& from) {
  const uint8_t* at = from.at;
  size_t groups = 0, words = 0;
  while (groups < kGroups) {
    if (at == from.end) return std::nullopt;
    const unsigned step = *at >> kCountBits, count = (*at & (kMostCount - 1)) + 1;
    at++;
    groups += count;
    if (step > kFollow || groups > kGroups) return std::nullopt;
    if (step == kWords8) words += count * kGroupWords;
    if (step != kSparse && step != kFollow) continue;
    if (static_cast<size_t>(from.end - at) < count) return std::nullopt;
    for (unsigned i = 0; i < count; i++) words += kBits[*at++];
  }
  return Length{static_cast<size_t>(at - from.at), words * kWordBytes};
}

/** False: a narrow word is longer than a word, or than what is left. */
bool widen(Cursor& from, size_t count, uint8_t* to) {
  for (size_t i = 0; i < count; i++) {
    if (from.at == from.end) return false;
    const unsigned skipped = *from.at >> 4, length = *from.at & 15;
    from.at++;
    if (skipped + length > kWordBytes || length > from.left()) return false;
    uint64_t word = 0;
    std::memcpy(&word, from.at, length);
    if (length > 0) word <<= 8 * skipped;
    std::memcpy(to + i * kWordBytes, &word, kWordBytes);
    from.at += length;
  }
  return true;
}

/** Steps and words were measured. */
void expand(const uint8_t* steps, const uint8_t* words, uint8_t* page) {
  uint8_t* to = page;
  uint64_t before = 0;
  const auto put = [&to](uint64_t word) {
    std::memcpy(to, &word, kWordBytes);
    to += kWordBytes;
  };
  const auto take = [&] {
    std::memcpy(&before, words, kWordBytes);
    words += kWordBytes;
    return before;
  };
  while (to != page + kPageBytes) {
    const unsigned step = *steps >> kCountBits, count = (*steps & (kMostCount - 1)) + 1;
    steps++;
    for (unsigned group = 0; group < count; group++) {
      if (step == kSame) {
        std::memset(to, 0, kGroupWords * kWordBytes);
        to += kGroupWords * kWordBytes;
        before = 0;
        continue;
      }
      const unsigned given = step == kWords8 ? 0xff : step == kRepeat ? 0 : *steps++;
      for (unsigned i = 0; i < kGroupWords; i++) {
        if (given >> i & 1) put(take());
        else put(step == kSparse ? (before = 0) : before);
      }
    }
  }
}

}  // namespace

bool decode(Cursor& codes, Cursor& dense, Cursor& plain, uint8_t* page) {
  if (codes.at == codes.end) return false;
  const uint8_t head = *codes.at++;
  const std::optional<Length> length = measure(codes);
  if (!length) return false;
  const uint8_t* steps = codes.at;
  codes.at += length->steps;
  if (head == static_cast<uint8_t>(Lane::kNarrow)) {
    uint8_t words[kMostNarrowWords * kWordBytes];
    if (length->words > sizeof words || !widen(codes, length->words / kWordBytes, words)) return false;
    expand(steps, words, page);
    return true;
  }
  if (head > static_cast<uint8_t>(Lane::kNarrow)) return false;
  Cursor& lane = head == static_cast<uint8_t>(Lane::kDense) ? dense : plain;
  if (length->words > lane.left()) return false;
  expand(steps, lane.at, page);
  lane.at += length->words;
  return true;
}

}  // namespace virtcft::pagecode
