// The bytes around the pages of a section, shared by its writer and its reader.
#pragma once
#include "section.h"

namespace virtcft::section {

inline constexpr uint32_t kKindShift = 30;
inline constexpr uint32_t kPageMask = (1u << kKindShift) - 1;

struct Header {
  uint32_t magic;
  uint16_t version;
  uint16_t flags;
  uint32_t memoryPages;
  uint32_t pages;
  uint32_t blocks;
  uint32_t tablesCrc;
  uint64_t payloadBytes;
  uint32_t sources;  // before version 4: 0
  uint32_t headerCrc;  // of everything before it
};
static_assert(sizeof(Header) == kHeaderBytes);

/** An entry of the block table. Parts lie in the order plain, codes, dense. */
struct BlockEntry {
  uint32_t pages;
  uint32_t codesStored, codesContent;
  uint32_t denseStored, denseContent;
  uint32_t plain;
  uint32_t crc;  // of all its stored bytes
};
static_assert(sizeof(BlockEntry) == 28);
static_assert(sizeof(PageReference) == 24 && sizeof(SegmentName) == 32);
inline constexpr size_t kEntryBytesV2 = 12, kEntryBytesV1 = 8;

}  // namespace virtcft::section
