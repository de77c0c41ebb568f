#include "wire.h"

#include <algorithm>
#include <cstring>

#include "frame.h"

namespace virtcft::fabric {
namespace {

constexpr uint32_t kMagic = 0x56434654;  // "VCFT"
constexpr uint8_t kVersion = 2;

void Put(uint8_t*& at, uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; i--) *at++ = static_cast<uint8_t>(value >> (8 * i));
}
uint64_t Get(const uint8_t*& at, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++) value = value << 8 | *at++;
  return value;
}
Id GetId(const uint8_t*& at) {
  Id id;
  std::copy(at, at + id.size(), id.begin());
  at += id.size();
  return id;
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
  Put(at, header.destination, 1);
  for (const Id& id : {header.cluster, header.incarnation, header.life}) at = std::copy(id.begin(), id.end(), at);
  for (const uint64_t number : {header.generation, header.session, header.colour, header.sequence}) Put(at, number, 8);
  if (header.kind == Kind::Marker || header.kind == Kind::Ack) Put(at, header.cut, 8);
  if (header.kind == Kind::Ack) Put(at, header.echo, 8);
  return static_cast<size_t>(at - out);
}

std::optional<Claim> ReadClaim(const uint8_t* at, size_t bytes, size_t maxFrame) {
  if (bytes < kHeaderBytes + kMacBytes || bytes > kHeaderBytes + maxFrame + kMacBytes) return std::nullopt;
  if (Get(at, 4) != kMagic || Get(at, 1) != kVersion) return std::nullopt;
  Claim claim;
  at++;  // the kind
  claim.source = static_cast<uint8_t>(Get(at, 1));
  at++;  // the destination
  claim.cluster = GetId(at);
  claim.incarnation = GetId(at);
  at += sizeof(Id);  // the life
  claim.generation = Get(at, 8);
  return claim;
}

std::optional<Datagram> ParseDatagram(const uint8_t* at, size_t bytes, size_t maxFrame) {
  if (bytes < kHeaderBytes) return std::nullopt;
  if (Get(at, 4) != kMagic || Get(at, 1) != kVersion) return std::nullopt;
  const uint64_t kind = Get(at, 1);
  if (kind < 1 || kind > 4) return std::nullopt;
  Datagram datagram;
  Header& header = datagram.header;
  header.kind = static_cast<Kind>(kind);
  header.source = static_cast<uint8_t>(Get(at, 1));
  header.destination = static_cast<uint8_t>(Get(at, 1));
  header.cluster = GetId(at);
  header.incarnation = GetId(at);
  header.life = GetId(at);
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
