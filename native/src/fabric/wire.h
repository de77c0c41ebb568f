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
  Id cluster{};
  Id incarnation{};
  uint64_t generation = 0;
  /** Random per fabric object: a restarted agent counts from one again. */
  uint64_t session = 0;
  uint64_t colour = 0;
  /** Frame: its number in this channel, from 1. Marker: the last number sent at or before the cut. */
  uint64_t sequence = 0;
  /** Marker and Ack. */
  uint64_t cut = 0;
  /** Ack: the session of the marker's sender. */
  uint64_t echo = 0;
};

constexpr size_t kHeaderBytes = 72;
constexpr size_t kMaxHeaderBytes = kHeaderBytes + 16;

struct Datagram {
  Header header;
  const uint8_t* payload = nullptr;
  size_t bytes = 0;
};

/** Writes the header (and a marker's or ack's body); `out` has room for kMaxHeaderBytes. Returns the length. */
size_t EncodeHeader(const Header& header, uint8_t* out);
/** Untrusted bytes. A frame's payload is between 14 bytes and `maxFrame`; anything else has exactly its length. */
std::optional<Datagram> ParseDatagram(const uint8_t* at, size_t bytes, size_t maxFrame);

}  // namespace virtcft::fabric
