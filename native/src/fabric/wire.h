#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace virtcft::fabric {

/** docs/formats/tunnel.md */
enum class Kind : uint8_t { Frame = 1, Marker = 2, Ack = 3, Hello = 4 };

using Id = std::array<uint8_t, 16>;

struct Header {
  Kind kind = Kind::Hello;
  uint8_t source = 0;
  uint8_t destination = 0;
  Id cluster{};
  Id incarnation{};
  /** The life of the source's agent. */
  Id life{};
  uint64_t generation = 0;
  /** Random per fabric object, of which a life has one. */
  uint64_t session = 0;
  uint64_t colour = 0;
  /** Frame: its number in this channel, from 1. Marker: the last number sent at or before the cut. Hello: its number, from 1. */
  uint64_t sequence = 0;
  /** Marker and Ack. */
  uint64_t cut = 0;
  /** Ack: the session of the marker's sender. */
  uint64_t echo = 0;
};

constexpr size_t kHeaderBytes = 88;
constexpr size_t kMaxHeaderBytes = kHeaderBytes + 16;
constexpr size_t kMacBytes = 16;

struct Datagram {
  Header header;
  const uint8_t* payload = nullptr;
  size_t bytes = 0;
};

/** Writes the header (and a marker's or ack's body); `out` has room for kMaxHeaderBytes. Returns the length. */
size_t EncodeHeader(const Header& header, uint8_t* out);

/** What is looked at before the datagram is known to be genuine: which cluster and incarnation it claims, so which key to try. */
struct Claim {
  uint8_t source;
  uint64_t generation;
  Id cluster;
  Id incarnation;
};
/** Untrusted bytes: magic, version, and a length between an empty hello's and that of a frame of `maxFrame` bytes. */
std::optional<Claim> ReadClaim(const uint8_t* at, size_t bytes, size_t maxFrame);
/** Bytes of a peer (authenticated, and checked all the same), without their MAC. A frame's payload is 14..`maxFrame` bytes, the rest exact. */
std::optional<Datagram> ParseDatagram(const uint8_t* at, size_t bytes, size_t maxFrame);

}  // namespace virtcft::fabric
