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
__attribute__((target("sse4.2"))) uint32_t crc32cHardware(const uint8_t* at, size_t length, uint32_t seed) {
  uint64_t crc = ~seed;
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
