#include "handshake.h"

#include <array>

#include "nbd.h"

namespace virtcft {

namespace {
constexpr size_t kOptionHeaderBytes = 16;
}

void Handshake::greet(ByteQueue& out) const {
  uint8_t* at = out.room(18);
  at = nbd::store(at, nbd::kGreeting);
  at = nbd::store(at, nbd::kOptionMagic);
  nbd::store<uint16_t>(at, nbd::kFixedNewstyle | nbd::kNoZeroes);
  out.added(18);
}

Handshake::Step Handshake::advance(ByteQueue& in, ByteQueue& out) {
  if (!flagged_) {
    if (in.size() < 4) return Step::kMore;
    const auto flags = nbd::load<uint32_t>(in.data());
    if (flags & ~uint32_t{nbd::kFixedNewstyle | nbd::kNoZeroes}) return Step::kEnd;
    noZeroes_ = flags & nbd::kNoZeroes;
    flagged_ = true;
    in.taken(4);
  }
  while (in.size() >= kOptionHeaderBytes && out.size() < kBatchBytes) {
    const uint8_t* at = in.data();
    const auto length = nbd::load<uint32_t>(at + 12);
    if (nbd::load<uint64_t>(at) != nbd::kOptionMagic || length > kMostOptionBytes) return Step::kEnd;
    if (in.size() < kOptionHeaderBytes + length) return Step::kMore;
    const Step step = option(nbd::load<uint32_t>(at + 8), at + kOptionHeaderBytes, length, out);
    in.taken(kOptionHeaderBytes + length);
    if (step != Step::kMore) return step;
  }
  return Step::kMore;
}

Handshake::Step Handshake::option(uint32_t option, const uint8_t* data, size_t length, ByteQueue& out) {
  switch (option) {
    case nbd::kExportName: {  // has no reply of its own, and no way to refuse
      const size_t bytes = noZeroes_ ? 10 : 134;
      uint8_t* at = nbd::store(out.room(bytes), diskBytes_);
      at = nbd::store(at, nbd::kExportFlags);
      std::memset(at, 0, bytes - 10);
      out.added(bytes);
      return Step::kEntered;
    }
    case nbd::kAbort:
      reply(option, nbd::kAck, nullptr, 0, out);
      return Step::kEnd;
    case nbd::kList: {
      const std::array<uint8_t, 4> noName{};
      reply(option, length == 0 ? nbd::kServer : nbd::kErrInvalid, noName.data(), length == 0 ? noName.size() : 0, out);
      if (length == 0) reply(option, nbd::kAck, nullptr, 0, out);
      return Step::kMore;
    }
    case nbd::kInfo:
    case nbd::kGo: return enter(option, data, length, out);
    case nbd::kStructuredReply:
      structured_ = structured_ || length == 0;
      reply(option, length == 0 ? nbd::kAck : nbd::kErrInvalid, nullptr, 0, out);
      return Step::kMore;
    default:
      reply(option, nbd::kErrUnsupported, nullptr, 0, out);
      return Step::kMore;
  }
}

Handshake::Step Handshake::enter(uint32_t option, const uint8_t* data, size_t length, ByteQueue& out) const {
  // name length, name, number of wanted infos, those; both infos are sent, wanted or not.
  const size_t name = length >= 6 ? nbd::load<uint32_t>(data) : length;
  const bool right = length >= 6 && name <= length - 6 && length == 6 + name + size_t{2} * nbd::load<uint16_t>(data + 4 + name);
  if (!right) {
    reply(option, nbd::kErrInvalid, nullptr, 0, out);
    return Step::kMore;
  }
  std::array<uint8_t, 12> exported;
  nbd::store(nbd::store(nbd::store(exported.data(), nbd::kInfoExport), diskBytes_), nbd::kExportFlags);
  reply(option, nbd::kInfoReply, exported.data(), exported.size(), out);
  std::array<uint8_t, 14> sizes;
  uint8_t* at = nbd::store<uint32_t>(nbd::store(sizes.data(), nbd::kInfoBlockSize), 1);
  nbd::store<uint32_t>(nbd::store<uint32_t>(at, kPageBytes), kMostRequestBytes);
  reply(option, nbd::kInfoReply, sizes.data(), sizes.size(), out);
  reply(option, nbd::kAck, nullptr, 0, out);
  return option == nbd::kGo ? Step::kEntered : Step::kMore;
}

void Handshake::reply(uint32_t option, uint32_t type, const uint8_t* data, size_t length, ByteQueue& out) {
  uint8_t* at = out.room(20 + length);
  at = nbd::store(at, nbd::kOptionReplyMagic);
  at = nbd::store(at, option);
  at = nbd::store(at, type);
  at = nbd::store(at, static_cast<uint32_t>(length));
  if (length > 0) std::memcpy(at, data, length);
  out.added(20 + length);
}

}  // namespace virtcft
