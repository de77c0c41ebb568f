#pragma once

#include <cstdint>
#include <functional>

#include "frame.h"

namespace virtcft::fabric {

/** The kernel's `struct virtio_net_hdr` (its header is not valid C++): what was left to the hardware. */
struct Offload {
  uint8_t flags = 0;
  uint8_t type = 0;
  uint16_t headerBytes = 0;
  uint16_t segmentBytes = 0;
  uint16_t checksumStart = 0;
  uint16_t checksumOffset = 0;
};
static_assert(sizeof(Offload) == 10);

/**
 * A packet socket sees frames before offloads end: with a checksum left to the hardware, or several TCP segments joined. The guest's
 * NIC knows neither, so checksums are completed and joined segments are cut again, here. False when it cannot be done.
 */
bool CompleteFrame(const Offload& offload, const uint8_t* at, size_t bytes, size_t maxFrame, const std::function<void(FrameRef)>& take);

}  // namespace virtcft::fabric
