#include "device_state.h"

#include <cstring>

#include "failures.h"

namespace virtcft::xen {

namespace {

struct Header {
  char magic[8];
  uint16_t version, zero;
  uint32_t vcpus;
  uint64_t pages, mostMemory_kib, paging_bytes;
  uint8_t uuid[16];
  uint32_t miscFlags, ranges, headBytes, tailBytes;
};
static_assert(sizeof(Header) == 72);
constexpr char kMagic[8] = {'V', 'C', 'F', 'T', 'X', 'E', 'N', '\n'};
constexpr uint16_t kVersion = 1;

void checkHead(std::span<const uint8_t> head) {
  Bytes expected;
  uint32_t version[2];
  if (head.size() < stream::kBeginBytes) badState("it has no headers");
  std::memcpy(version, head.data() + stream::kBeginBytes - sizeof version, sizeof version);
  stream::begin(expected, version[0], version[1]);
  if (std::memcmp(expected.data(), head.data(), expected.size()) != 0) badState("its headers are not those of an HVM domain");
  bool ended = false;
  stream::eachRecord(head.subspan(stream::kBeginBytes), [&](RecordType type, std::span<const uint8_t>) {
    if (ended || (type != RecordType::kCpuidPolicy && type != RecordType::kMsrPolicy && type != RecordType::kStaticDataEnd)) badState("a record where none may be");
    ended = type == RecordType::kStaticDataEnd;
  });
  if (!ended) badState("its static data do not end");
}

void checkTail(std::span<const uint8_t> tail) {
  bool ended = false, context = false;
  stream::eachRecord(tail, [&](RecordType type, std::span<const uint8_t> body) {
    if (ended) badState("a record behind the end");
    if (type == RecordType::kPageData) {
      uint32_t count = 0;
      if (body.size() >= 8) std::memcpy(&count, body.data(), 4);
      if (count == 0 || count > limits::kMostSpecialPages || body.size() != 8 + size_t{count} * (sizeof(Gfn) + kPageBytes)) badState("pages whose length does not match");
    } else if (type != RecordType::kTscInfo && type != RecordType::kHvmContext && type != RecordType::kHvmParams && type != RecordType::kEnd) {
      badState("a record where none may be");
    }
    context = context || type == RecordType::kHvmContext;
    ended = type == RecordType::kEnd;
  });
  if (!ended || !context) badState("it has no processors, or no end");
}

}  // namespace

Bytes DeviceState::write() const {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  header.vcpus = vcpus;
  header.pages = pages;
  header.mostMemory_kib = mostMemory_kib;
  header.paging_bytes = paging_bytes;
  std::memcpy(header.uuid, uuid.data(), uuid.size());
  header.miscFlags = miscFlags;
  header.ranges = static_cast<uint32_t>(present.size());
  header.headBytes = static_cast<uint32_t>(head.size());
  header.tailBytes = static_cast<uint32_t>(tail.size());
  Bytes out(sizeof header + present.size() * sizeof(PageRange) + head.size() + tail.size());
  uint8_t* at = out.data();
  const auto append = [&at](const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(at, from, bytes);
    at += bytes;
  };
  append(&header, sizeof header);
  append(present.data(), present.size() * sizeof(PageRange));
  append(head.data(), head.size());
  append(tail.data(), tail.size());
  return out;
}

DeviceState DeviceState::read(std::span<const uint8_t> bytes) {
  Header header;
  if (bytes.size() < sizeof header || bytes.size() > limits::kMostStateBytes) badState("its length is " + std::to_string(bytes.size()));
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) badState("it is not one of a Xen domain");
  if (header.version != kVersion || header.zero != 0) badState("version " + std::to_string(header.version) + " is not known");
  if (header.vcpus == 0 || header.vcpus > limits::kMostVcpus) badState("it has " + std::to_string(header.vcpus) + " processors");
  if (header.pages == 0 || header.pages > kMaxPages) badState("its memory cannot be");
  if (header.ranges > limits::kMostRanges) badState("its memory is in too many pieces");
  const uint64_t length = sizeof header + uint64_t{header.ranges} * sizeof(PageRange) + header.headBytes + header.tailBytes;
  if (length != bytes.size()) badState("its length does not match its parts");

  DeviceState state;
  state.vcpus = header.vcpus;
  state.pages = header.pages;
  state.mostMemory_kib = header.mostMemory_kib;
  state.paging_bytes = header.paging_bytes;
  std::memcpy(state.uuid.data(), header.uuid, sizeof header.uuid);
  state.miscFlags = header.miscFlags;
  state.present.resize(header.ranges);
  bytes = bytes.subspan(sizeof header);
  if (header.ranges > 0) std::memcpy(state.present.data(), bytes.data(), header.ranges * sizeof(PageRange));
  bytes = bytes.subspan(header.ranges * sizeof(PageRange));
  uint64_t end = 0;
  for (const PageRange& range : state.present) {
    if (range.count == 0 || range.first < end || uint64_t{range.first} + range.count > header.pages) badState("its memory's pieces are out of order or of bounds");
    end = uint64_t{range.first} + range.count;
  }
  const auto head = bytes.first(header.headBytes), tail = bytes.subspan(header.headBytes);
  checkHead(head);
  checkTail(tail);
  state.head.assign(head.begin(), head.end());
  state.tail.assign(tail.begin(), tail.end());
  return state;
}

std::vector<PageRange> rangesOf(const std::vector<bool>& present) {
  std::vector<PageRange> ranges;
  for (uint32_t page = 0; page < present.size(); page++) {
    if (!present[page]) continue;
    if (!ranges.empty() && ranges.back().first + ranges.back().count == page) ranges.back().count++;
    else ranges.push_back({page, 1});
  }
  return ranges;
}

}  // namespace virtcft::xen
