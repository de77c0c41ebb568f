// Pages of a guest that its back ends have mapped: the rings of its devices. They write them whenever they like, and no log tells.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace virtcft::xen {

/** An entry of a grant table of version 1 (Xen's public/grant_table.h). */
struct GrantEntry {
  uint16_t flags;
  uint16_t domain;
  uint32_t frame;
};
static_assert(sizeof(GrantEntry) == 8);

/** Frames that another domain has mapped and may write now, rising, each once. */
std::vector<uint64_t> framesMappedForWriting(std::span<const GrantEntry> table);

}  // namespace virtcft::xen
