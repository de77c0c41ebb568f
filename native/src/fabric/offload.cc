#include "offload.h"

#include <algorithm>

namespace virtcft::fabric {
namespace {

uint64_t Sum(const uint8_t* at, size_t bytes, uint64_t sum = 0) {
  for (size_t i = 0; i + 1 < bytes; i += 2) sum += static_cast<uint64_t>(at[i]) << 8 | at[i + 1];
  if (bytes % 2 == 1) sum += static_cast<uint64_t>(at[bytes - 1]) << 8;
  return sum;
}
uint16_t Fold(uint64_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}
uint16_t Get16(const uint8_t* at) { return static_cast<uint16_t>(at[0] << 8 | at[1]); }
uint32_t Get32(const uint8_t* at) { return static_cast<uint32_t>(Get16(at)) << 16 | Get16(at + 2); }
void Put16(uint8_t* at, uint16_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}
void Put32(uint8_t* at, uint32_t value) {
  Put16(at, static_cast<uint16_t>(value >> 16));
  Put16(at + 2, static_cast<uint16_t>(value));
}

// VIRTIO_NET_HDR_*
constexpr uint8_t kNeedsChecksum = 1, kNotJoined = 0, kTcpFour = 1, kTcpSix = 4, kEcn = 0x80;
constexpr uint8_t kFin = 0x01, kPush = 0x08, kCwr = 0x80;

struct TcpAt {
  bool six;
  size_t ip;
  size_t tcp;
  size_t payload;
};

/** Finds the headers of a joined TCP frame; false for anything unexpected. */
bool FindTcp(const Offload& offload, const uint8_t* at, size_t bytes, TcpAt& found) {
  const uint8_t type = offload.type & static_cast<uint8_t>(~kEcn);
  if (type != kTcpFour && type != kTcpSix) return false;
  if (!(offload.flags & kNeedsChecksum) || offload.checksumOffset != 16 || offload.segmentBytes == 0) return false;
  found.six = type == kTcpSix;
  found.ip = kEthernetHeaderBytes;
  if (bytes >= kEthernetHeaderBytes && Get16(at + 12) == 0x8100) found.ip += kVlanTagBytes;
  found.tcp = offload.checksumStart;
  const size_t shortest = found.six ? 40 : 20;
  if (found.tcp < found.ip + shortest || found.tcp + 20 > bytes) return false;
  if (at[found.ip] >> 4 != (found.six ? 6 : 4)) return false;
  if (!found.six && found.ip + (at[found.ip] & 15u) * 4u != found.tcp) return false;
  found.payload = found.tcp + (at[found.tcp + 12] >> 4) * 4u;
  return found.payload >= found.tcp + 20 && found.payload <= bytes;
}

void CompleteTcp(uint8_t* frame, size_t bytes, const TcpAt& at) {
  const size_t length = bytes - at.tcp;
  uint64_t sum = 6 + length;  // pseudo header: protocol and length, then the addresses
  sum = at.six ? Sum(frame + at.ip + 8, 32, sum) : Sum(frame + at.ip + 12, 8, sum);
  Put16(frame + at.tcp + 16, 0);
  Put16(frame + at.tcp + 16, static_cast<uint16_t>(~Fold(Sum(frame + at.tcp, length, sum))));
}

bool Segment(const Offload& offload, const uint8_t* at, size_t bytes, size_t maxFrame, const std::function<void(FrameRef)>& take) {
  TcpAt headers{};
  if (!FindTcp(offload, at, bytes, headers) || headers.payload + offload.segmentBytes > maxFrame) return false;
  const uint32_t sequence = Get32(at + headers.tcp + 4);
  const uint16_t id = headers.six ? 0 : Get16(at + headers.ip + 4);
  const uint8_t flags = at[headers.tcp + 13];
  uint16_t index = 0;
  for (size_t from = headers.payload; from < bytes || index == 0; from += offload.segmentBytes, index++) {
    const size_t length = std::min<size_t>(offload.segmentBytes, bytes - from);
    Bytes frame(headers.payload + length);
    std::copy(at, at + headers.payload, frame.begin());
    std::copy(at + from, at + from + length, frame.begin() + static_cast<ptrdiff_t>(headers.payload));
    uint8_t* ip = frame.data() + headers.ip;
    if (headers.six) {
      Put16(ip + 4, static_cast<uint16_t>(frame.size() - headers.ip - 40));
    } else {
      Put16(ip + 2, static_cast<uint16_t>(frame.size() - headers.ip));
      Put16(ip + 4, static_cast<uint16_t>(id + index));
      Put16(ip + 10, 0);
      Put16(ip + 10, static_cast<uint16_t>(~Fold(Sum(ip, headers.tcp - headers.ip))));
    }
    uint8_t* tcp = frame.data() + headers.tcp;
    Put32(tcp + 4, sequence + static_cast<uint32_t>(from - headers.payload));
    const bool last = from + length >= bytes;
    tcp[13] = flags & static_cast<uint8_t>(~((last ? 0 : kFin | kPush) | (index == 0 ? 0 : kCwr)));
    CompleteTcp(frame.data(), frame.size(), headers);
    take(std::make_shared<const Bytes>(std::move(frame)));
  }
  return true;
}

}  // namespace

bool CompleteFrame(const Offload& offload, const uint8_t* at, size_t bytes, size_t maxFrame, const std::function<void(FrameRef)>& take) {
  if (offload.type != kNotJoined) return Segment(offload, at, bytes, maxFrame, take);
  if (bytes > maxFrame) return false;
  Bytes frame(at, at + bytes);
  if (offload.flags & kNeedsChecksum) {
    const size_t start = offload.checksumStart;
    const size_t field = start + offload.checksumOffset;
    if (start > bytes || field + 2 > bytes) return false;
    // The field holds the pseudo header's sum already.
    uint16_t sum = static_cast<uint16_t>(~Fold(Sum(frame.data() + start, bytes - start)));
    if (sum == 0) sum = 0xffff;  // UDP's zero means no checksum; for TCP both are zero
    Put16(frame.data() + field, sum);
  }
  take(std::make_shared<const Bytes>(std::move(frame)));
  return true;
}

}  // namespace virtcft::fabric
