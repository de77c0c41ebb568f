// CRC-32C (Castagnoli), in hardware where the processor has it. Guards against damage, not against malice.
#pragma once
#include <cstddef>
#include <cstdint>

namespace virtcft {

uint32_t crc32c(const void* bytes, size_t length, uint32_t seed = 0);
/** The portable form; equal for every input (tested). */
uint32_t crc32cPortable(const void* bytes, size_t length, uint32_t seed = 0);

}  // namespace virtcft
