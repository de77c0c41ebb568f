// Sections whose pages lie in part in other sections. Format: docs/formats/page-section.md.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace virtcft {

/**
 * The same section with the pages in it that it refers to. `sources`: the page sections of the segments that it names, in its order. EBADSECTION when one of
 * all these is damaged, or does not hold raw, and with the hash that is told, a page that is referred to.
 */
std::vector<uint8_t> resolveReferences(std::span<const uint8_t> section, std::span<const std::span<const uint8_t>> sources);

}  // namespace virtcft
