#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "frame.h"

namespace virtcft::fabric {

/**
 * What tells switches and neighbours where a NIC is now: a RARP request (moves the MAC in switches), and with an IPv4 address a
 * gratuitous ARP request and reply (neighbours differ in which of the two they take).
 */
std::vector<FrameRef> Announcement(Mac nic, std::optional<uint32_t> ip);

}  // namespace virtcft::fabric
