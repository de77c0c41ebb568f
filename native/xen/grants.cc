#include "grants.h"

#include <algorithm>

namespace virtcft::xen {

namespace {
constexpr uint16_t kTypeMask = 3, kPermitAccess = 1, kWriting = 1 << 4;
}

std::vector<uint64_t> framesMappedForWriting(std::span<const GrantEntry> table) {
  std::vector<uint64_t> frames;
  for (const GrantEntry& entry : table) {
    if ((entry.flags & kTypeMask) == kPermitAccess && (entry.flags & kWriting)) frames.push_back(entry.frame);
  }
  std::sort(frames.begin(), frames.end());
  frames.erase(std::unique(frames.begin(), frames.end()), frames.end());
  return frames;
}

}  // namespace virtcft::xen
