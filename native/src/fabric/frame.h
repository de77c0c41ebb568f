#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace virtcft::fabric {

using Bytes = std::vector<uint8_t>;
/** One Ethernet frame; shared, because a broadcast and the logs of several cuts hold the same bytes. */
using FrameRef = std::shared_ptr<const Bytes>;

/** A MAC address in the low 48 bits, first octet highest. */
using Mac = uint64_t;

constexpr size_t kEthernetHeaderBytes = 14;
constexpr size_t kVlanTagBytes = 4;
constexpr Mac kBroadcast = 0xffffffffffffULL;

inline Mac ReadMac(const uint8_t* at) {
  Mac mac = 0;
  for (int i = 0; i < 6; i++) mac = mac << 8 | at[i];
  return mac;
}
inline void WriteMac(Mac mac, uint8_t* at) {
  for (int i = 5; i >= 0; i--, mac >>= 8) at[i] = static_cast<uint8_t>(mac);
}
inline Mac DestinationOf(const Bytes& frame) { return ReadMac(frame.data()); }
inline Mac SourceOf(const Bytes& frame) { return ReadMac(frame.data() + 6); }
/** Broadcast and multicast. */
inline bool IsGroup(Mac mac) { return (mac >> 40 & 1) != 0; }

inline FrameRef MakeFrame(const uint8_t* at, size_t bytes) { return std::make_shared<const Bytes>(at, at + bytes); }

/** Monotonic clock, microseconds. */
inline int64_t Now() {
  timespec at{};
  clock_gettime(CLOCK_MONOTONIC, &at);
  return int64_t{at.tv_sec} * 1'000'000 + at.tv_nsec / 1000;
}

/** Why a command was refused; an empty code is success. */
struct Failure {
  std::string code;
  std::string message;
  explicit operator bool() const { return !code.empty(); }
};
/** A failure from errno: code `E<CALL>` style names are the kernel's own (`EADDRINUSE`), the message says what was tried. */
Failure SystemFailure(int error, const std::string& tried);

}  // namespace virtcft::fabric
