// The NBD protocol's numbers (big-endian on the wire), as far as the server speaks it: fixed newstyle, simple and structured replies.
#pragma once
#include <cstdint>
#include <cstring>

namespace virtcft::nbd {

inline constexpr uint64_t kGreeting = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr uint64_t kOptionReplyMagic = 0x3e889045565a9;
inline constexpr uint32_t kRequestMagic = 0x25609513;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr uint32_t kStructuredReplyMagic = 0x668e33ef;

inline constexpr uint16_t kFixedNewstyle = 1, kNoZeroes = 2;  // handshake flags, of both sides

enum Option : uint32_t { kExportName = 1, kAbort = 2, kList = 3, kInfo = 6, kGo = 7, kStructuredReply = 8 };
enum OptionReply : uint32_t {
  kAck = 1, kServer = 2, kInfoReply = 3,
  kErrUnsupported = 0x80000001, kErrInvalid = 0x80000003,
};
inline constexpr uint16_t kInfoExport = 0, kInfoBlockSize = 3;

/** HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES, CAN_MULTI_CONN: a write is seen by all connections once it is answered. */
inline constexpr uint16_t kExportFlags = 1 | 4 | 8 | 32 | 64 | 256;

enum Command : uint16_t { kRead = 0, kWrite = 1, kDisconnect = 2, kFlush = 3, kTrim = 4, kWriteZeroes = 6 };
inline constexpr uint16_t kKnownFlags = 1 | 2 | 4;  // FUA; NO_HOLE: a wish; DF: answers are in one piece anyway

inline constexpr uint16_t kReplyDone = 1;
inline constexpr uint16_t kReplyNone = 0, kReplyOffsetData = 1, kReplyError = 32769;
enum Error : uint32_t { kOk = 0, kEio = 5, kEnomem = 12, kEinval = 22, kEnospc = 28 };

inline constexpr size_t kRequestBytes = 28;
inline constexpr size_t kSimpleReplyBytes = 16;
inline constexpr size_t kStructuredReplyBytes = 20;

template <class Number>
Number load(const uint8_t* at) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(Number); i++) value = value << 8 | at[i];
  return static_cast<Number>(value);
}
template <class Number>
uint8_t* store(uint8_t* at, Number value) {
  uint64_t rest = value;
  for (size_t i = sizeof(Number); i-- > 0; rest >>= 8) at[i] = static_cast<uint8_t>(rest);
  return at + sizeof(Number);
}

struct Request {
  uint16_t flags = 0;
  uint16_t command = 0;
  uint64_t cookie = 0;
  uint64_t offset = 0;
  uint32_t length = 0;
};

}  // namespace virtcft::nbd
