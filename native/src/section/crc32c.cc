#include "crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace virtcft {

namespace {

constexpr std::array<uint32_t, 256> makeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0x82f63b78u : 0);
    table[i] = value;
  }
  return table;
}
constexpr auto kTable = makeTable();

#if defined(__x86_64__)
constexpr size_t kLaneBytes = 512;
using Shift = std::array<std::array<uint32_t, 256>, 4>;

/** What `zeros` zero bytes make of a CRC, by its bytes: so that parts computed side by side are put together. */
constexpr Shift makeShift(size_t zeros) {
  std::array<uint32_t, 32> bits{};
  for (size_t bit = 0; bit < 32; bit++) {
    bits[bit] = 1u << bit;
    for (size_t i = 0; i < zeros; i++) bits[bit] = bits[bit] >> 8 ^ kTable[bits[bit] & 0xff];
  }
  Shift shift{};
  for (size_t byte = 0; byte < 4; byte++) {
    for (uint32_t value = 0; value < 256; value++) {
      for (size_t bit = 0; bit < 8; bit++) shift[byte][value] ^= value >> bit & 1 ? bits[8 * byte + bit] : 0;
    }
  }
  return shift;
}
constexpr Shift kByLane = makeShift(kLaneBytes);

uint64_t shifted(uint64_t crc) { return kByLane[0][crc & 0xff] ^ kByLane[1][crc >> 8 & 0xff] ^ kByLane[2][crc >> 16 & 0xff] ^ kByLane[3][crc >> 24 & 0xff]; }

__attribute__((target("sse4.2"))) uint32_t crc32cHardware(const uint8_t* at, size_t length, uint32_t seed) {
  uint64_t crc = ~seed;
  // Three at once: the instruction takes three cycles and can begin every cycle.
  for (; length >= 3 * kLaneBytes; at += 3 * kLaneBytes, length -= 3 * kLaneBytes) {
    uint64_t second = 0, third = 0;
    for (size_t i = 0; i < kLaneBytes; i += 8) {
      uint64_t words[3];
      std::memcpy(&words[0], at + i, 8);
      std::memcpy(&words[1], at + kLaneBytes + i, 8);
      std::memcpy(&words[2], at + 2 * kLaneBytes + i, 8);
      crc = _mm_crc32_u64(crc, words[0]);
      second = _mm_crc32_u64(second, words[1]);
      third = _mm_crc32_u64(third, words[2]);
    }
    crc = shifted(shifted(crc) ^ second) ^ third;
  }
  for (; length >= 8; at += 8, length -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    crc = _mm_crc32_u64(crc, word);
  }
  auto rest = static_cast<uint32_t>(crc);
  for (; length > 0; at++, length--) rest = _mm_crc32_u8(rest, *at);
  return ~rest;
}
#endif

}  // namespace

uint32_t crc32cPortable(const void* bytes, size_t length, uint32_t seed) {
  const auto* at = static_cast<const uint8_t*>(bytes);
  uint32_t crc = ~seed;
  for (; length > 0; at++, length--) crc = crc >> 8 ^ kTable[(crc ^ *at) & 0xff];
  return ~crc;
}

uint32_t crc32c(const void* bytes, size_t length, uint32_t seed) {
#if defined(__x86_64__)
  static const bool hardware = __builtin_cpu_supports("sse4.2");
  if (hardware) return crc32cHardware(static_cast<const uint8_t*>(bytes), length, seed);
#endif
  return crc32cPortable(bytes, length, seed);
}

}  // namespace virtcft
