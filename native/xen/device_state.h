// A captured domain beside its RAM: the records of Xen's stream as they will be read at a restore, and what creates the domain. Opaque to all others.
#pragma once
#include <array>

#include "stream.h"

namespace virtcft::xen {

struct PageRange {
  uint32_t first, count;
  bool operator==(const PageRange&) const = default;
};

struct DeviceState {
  uint32_t vcpus = 1;
  uint64_t pages = 0;                // of RAM
  uint64_t mostMemory_kib = 0;       // that Xen lets the domain have
  uint64_t paging_bytes = 0;         // Xen's pool for its page tables
  uint32_t miscFlags = 0;            // of the domain's configuration
  std::array<uint8_t, 16> uuid{};
  std::vector<PageRange> present;    // pages of RAM that exist, rising; the others are ballooned out
  Bytes head;                        // the stream up to the pages
  Bytes tail;                        // pages outside RAM, processors and the rest, to the end

  Bytes write() const;
  /** Failure EBADSTATE at whatever `write` does not write. */
  static DeviceState read(std::span<const uint8_t> bytes);
};

/** Runs of set bits. */
std::vector<PageRange> rangesOf(const std::vector<bool>& present);

}  // namespace virtcft::xen
