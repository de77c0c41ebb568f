#include "announcement.h"

#include <algorithm>

namespace virtcft::fabric {
namespace {

constexpr size_t kShortestFrameBytes = 60;
constexpr uint16_t kArp = 0x0806;
constexpr uint16_t kRarp = 0x8035;

FrameRef ArpLike(uint16_t type, uint8_t operation, Mac nic, uint32_t ip, Mac target) {
  Bytes frame(kShortestFrameBytes, 0);
  uint8_t* at = frame.data();
  WriteMac(kBroadcast, at);
  WriteMac(nic, at + 6);
  const uint8_t fixed[] = {static_cast<uint8_t>(type >> 8), static_cast<uint8_t>(type), 0, 1, 8, 0, 6, 4, 0, operation};
  std::copy(std::begin(fixed), std::end(fixed), at + 12);
  WriteMac(nic, at + 22);
  WriteMac(target, at + 32);
  for (int i = 0; i < 4; i++) at[28 + i] = at[38 + i] = static_cast<uint8_t>(ip >> (24 - 8 * i));
  return std::make_shared<const Bytes>(std::move(frame));
}

}  // namespace

std::vector<FrameRef> Announcement(Mac nic, std::optional<uint32_t> ip) {
  std::vector<FrameRef> frames{ArpLike(kRarp, 3, nic, 0, nic)};
  if (ip) {
    frames.push_back(ArpLike(kArp, 1, nic, *ip, 0));
    frames.push_back(ArpLike(kArp, 2, nic, *ip, nic));
  }
  return frames;
}

}  // namespace virtcft::fabric
