#include "wire.h"

#include <algorithm>
#include <cstring>

#include "frame.h"

namespace virtcft::fabric {
namespace {

constexpr uint32_t kMagic = 0x56434654;  // "VCFT"
constexpr uint8_t kVersion = 1;

void Put(uint8_t*& at, uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; i--) *at++ = static_cast<uint8_t>(value >> (8 * i));
}
uint64_t Get(const uint8_t*& at, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++) value = value << 8 | *at++;
  return value;
}

size_t BodyBytes(Kind kind) {
  switch (kind) {
    case Kind::Marker: return 8;
    case Kind::Ack: return 16;
    case Kind::Frame:
    case Kind::Hello: return 0;
  }
  return 0;
}

}  // namespace

size_t EncodeHeader(const Header& header, uint8_t* out) {
  uint8_t* at = out;
  Put(at, kMagic, 4);
  Put(at, kVersion, 1);
  Put(at, static_cast<uint8_t>(header.kind), 1);
  Put(at, header.source, 1);
  Put(at, 0, 1);
  at = std::copy(header.cluster.begin(), header.cluster.end(), at);
  at = std::copy(header.incarnation.begin(), header.incarnation.end(), at);
  Put(at, header.generation, 8);
  Put(at, header.session, 8);
  Put(at, header.colour, 8);
  Put(at, header.sequence, 8);
  if (header.kind == Kind::Marker || header.kind == Kind::Ack) Put(at, header.cut, 8);
  if (header.kind == Kind::Ack) Put(at, header.echo, 8);
  return static_cast<size_t>(at - out);
}

std::optional<Datagram> ParseDatagram(const uint8_t* start, size_t bytes, size_t maxFrame) {
  if (bytes < kHeaderBytes) return std::nullopt;
  const uint8_t* at = start;
  if (Get(at, 4) != kMagic || Get(at, 1) != kVersion) return std::nullopt;
  const uint64_t kind = Get(at, 1);
  if (kind < 1 || kind > 4) return std::nullopt;
  Datagram datagram;
  Header& header = datagram.header;
  header.kind = static_cast<Kind>(kind);
  header.source = static_cast<uint8_t>(Get(at, 1));
  if (Get(at, 1) != 0) return std::nullopt;
  std::copy(at, at + 16, header.cluster.begin());
  std::copy(at + 16, at + 32, header.incarnation.begin());
  at += 32;
  header.generation = Get(at, 8);
  header.session = Get(at, 8);
  header.colour = Get(at, 8);
  header.sequence = Get(at, 8);
  const size_t rest = bytes - kHeaderBytes;
  if (header.kind == Kind::Frame) {
    if (rest < kEthernetHeaderBytes || rest > maxFrame || header.sequence == 0) return std::nullopt;
    datagram.payload = at;
    datagram.bytes = rest;
    return datagram;
  }
  if (rest != BodyBytes(header.kind)) return std::nullopt;
  if (rest >= 8) header.cut = Get(at, 8);
  if (rest >= 16) header.echo = Get(at, 8);
  return datagram;
}

}  // namespace virtcft::fabric
