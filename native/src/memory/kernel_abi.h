// Kernel interfaces that are newer than the headers of the distributions we build on (Linux 6.7).
#pragma once
#include <linux/ioctl.h>
#include <linux/userfaultfd.h>

#include <cstdint>

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

namespace virtcft::abi {

struct PageRegion {
  uint64_t start, end, categories;
};
struct PagemapScan {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted, category_mask, category_anyof_mask, return_mask;
};
inline constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScan);
inline constexpr uint64_t kScanWpMatching = 1 << 0;
inline constexpr uint64_t kScanCheckWpAsync = 1 << 1;
inline constexpr uint64_t kPageWritten = 1 << 1;
inline constexpr uint64_t kPagePresent = 1 << 3;

}  // namespace virtcft::abi
