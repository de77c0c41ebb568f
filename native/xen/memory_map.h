// Where a PVH guest's RAM lies: page n of a section is the guest's n-th page of RAM, whatever hole lies between.
#pragma once
#include <cstdint>
#include <optional>

#include "../src/memory/page.h"
#include "limits.h"

namespace virtcft::xen {

using Gfn = uint64_t;

struct MemoryMap {
  uint64_t pages = 0;

  Gfn gfnOf(uint64_t page) const { return page < limits::kLowPages ? page : page - limits::kLowPages + limits::kHighFirst; }
  /** None where it is not RAM. */
  std::optional<PageNumber> pageOf(Gfn gfn) const {
    if (gfn >= limits::kLowPages && gfn < limits::kHighFirst) return std::nullopt;
    const uint64_t page = gfn < limits::kLowPages ? gfn : gfn - limits::kHighFirst + limits::kLowPages;
    return page < pages ? std::optional(static_cast<PageNumber>(page)) : std::nullopt;
  }
  /** One past the last frame of RAM. */
  Gfn end() const { return pages == 0 ? 0 : gfnOf(pages - 1) + 1; }
};

}  // namespace virtcft::xen
