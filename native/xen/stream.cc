#include "stream.h"

#include <bit>
#include <cstring>

#include "failures.h"

namespace virtcft::xen::stream {

static_assert(std::endian::native == std::endian::little, "the stream is written as it lies in memory");

namespace {

constexpr uint32_t kVersion = 3;
constexpr uint32_t kTypeHvm = 2;
constexpr size_t kRecordHeadBytes = 8;

void append(Bytes& to, const void* from, size_t bytes) {
  const auto* first = static_cast<const uint8_t*>(from);
  to.insert(to.end(), first, first + bytes);
}
template <class T>
void put(Bytes& to, T value) {
  append(to, &value, sizeof value);
}
void putBig(Bytes& to, uint32_t value) { put(to, __builtin_bswap32(value)); }

bool known(uint32_t type) {
  switch (static_cast<RecordType>(type)) {
    case RecordType::kEnd: case RecordType::kPageData: case RecordType::kTscInfo: case RecordType::kHvmContext: case RecordType::kHvmParams:
    case RecordType::kStaticDataEnd: case RecordType::kCpuidPolicy: case RecordType::kMsrPolicy: return true;
  }
  return false;
}

}  // namespace

void begin(Bytes& to, uint32_t major, uint32_t minor) {
  put(to, ~uint64_t{0});
  putBig(to, 0x58454e46);  // "XENF"
  putBig(to, kVersion);
  put(to, uint64_t{0});    // little-endian, reserved
  put(to, kTypeHvm);
  put(to, uint16_t{12});   // 4096-byte pages
  put(to, uint16_t{0});
  put(to, major);
  put(to, minor);
}

void record(Bytes& to, RecordType type, std::span<const uint8_t> body, std::span<const uint8_t> more) {
  const size_t bytes = body.size() + more.size();
  put(to, static_cast<uint32_t>(type));
  put(to, static_cast<uint32_t>(bytes));
  append(to, body.data(), body.size());
  append(to, more.data(), more.size());
  to.resize(to.size() + (8 - bytes % 8) % 8);
}

void tscInfo(Bytes& to, const TscInfo& tsc) {
  Bytes body;
  put(body, tsc.mode);
  put(body, tsc.khz);
  put(body, tsc.elapsed_ns);
  put(body, tsc.incarnation);
  put(body, uint32_t{0});
  record(to, RecordType::kTscInfo, body);
}

void hvmParams(Bytes& to, std::span<const HvmParam> params) {
  Bytes body;
  put(body, static_cast<uint32_t>(params.size()));
  put(body, uint32_t{0});
  for (const HvmParam& param : params) {
    put(body, param.index);
    put(body, param.value);
  }
  record(to, RecordType::kHvmParams, body);
}

void pagesHead(Bytes& to, std::span<const Gfn> gfns) {
  put(to, static_cast<uint32_t>(RecordType::kPageData));
  put(to, static_cast<uint32_t>(8 + gfns.size() * (sizeof(Gfn) + kPageBytes)));
  put(to, static_cast<uint32_t>(gfns.size()));
  put(to, uint32_t{0});
  append(to, gfns.data(), gfns.size_bytes());  // type 0 in the upper bits: an ordinary page
}

void eachRecord(std::span<const uint8_t> bytes, const std::function<void(RecordType, std::span<const uint8_t>)>& each) {
  while (!bytes.empty()) {
    if (bytes.size() < kRecordHeadBytes) badState("a record is cut short");
    uint32_t type, length;
    std::memcpy(&type, bytes.data(), 4);
    std::memcpy(&length, bytes.data() + 4, 4);
    if (!known(type)) badState("a record of unknown type " + std::to_string(type));
    if (length > limits::kMostRecordBytes) badState("a record of " + std::to_string(length) + " bytes");
    const size_t padded = kRecordHeadBytes + (size_t{length} + 7) / 8 * 8;
    if (padded > bytes.size()) badState("a record is longer than what follows");
    each(static_cast<RecordType>(type), bytes.subspan(kRecordHeadBytes, length));
    bytes = bytes.subspan(padded);
  }
}

}  // namespace virtcft::xen::stream
