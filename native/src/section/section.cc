#include "section.h"

#include <zstd.h>

#include <algorithm>
#include <bit>
#include <new>
#include <string>

#include "../memory/failure.h"
#include "crc32c.h"

namespace virtcft {

static_assert(std::endian::native == std::endian::little, "sections are little-endian and written as they lie in memory");

namespace {

constexpr int kLevel = 1;  // several times the speed of level 3 for a few per cent more bytes; encoding competes with the guests for the processor
constexpr uint32_t kKindShift = 30;
constexpr uint32_t kPageMask = (1u << kKindShift) - 1;

struct Header {
  uint32_t magic;
  uint16_t version;
  uint16_t flags;
  uint32_t memoryPages;
  uint32_t pages;
  uint32_t blocks;
  uint32_t tablesCrc;
  uint64_t payloadBytes;
  uint32_t reserved;
  uint32_t headerCrc;  // of everything before it
};
static_assert(sizeof(Header) == section::kHeaderBytes);

[[noreturn]] void bad(const std::string& what) { throw Failure(code::kBadSection, "page section refused: " + what); }

uint32_t crcOfTables(const std::vector<uint32_t>& index, const std::vector<uint32_t>& blocks) {
  return crc32c(blocks.data(), blocks.size() * 4, crc32c(index.data(), index.size() * 4));
}

}  // namespace

SectionWriter::SectionWriter(size_t memoryPages, bool full)
    : memoryPages_(memoryPages), full_(full), block_(new uint8_t[section::kBlockBytes]), zstd_(ZSTD_createCCtx()) {
  if (!zstd_) throw std::bad_alloc();
}

SectionWriter::~SectionWriter() { ZSTD_freeCCtx(zstd_); }

uint8_t* SectionWriter::next() {
  if (blockPages_ == section::kBlockPages) closeBlock();
  return block_.get() + blockPages_++ * kPageBytes;
}

void SectionWriter::addZero(PageNumber page) {
  index_.push_back(page | static_cast<uint32_t>(PageKind::kZero) << kKindShift);
  counts_.zero++;
}

void SectionWriter::addRaw(PageNumber page, const uint8_t* content) {
  std::memcpy(next(), content, kPageBytes);
  index_.push_back(page | static_cast<uint32_t>(PageKind::kRaw) << kKindShift);
  counts_.raw++;
}

void SectionWriter::addXor(PageNumber page, const uint8_t* content, const uint8_t* parent) {
  uint8_t* to = next();
  for (size_t i = 0; i < kPageBytes; i++) to[i] = content[i] ^ parent[i];
  index_.push_back(page | static_cast<uint32_t>(PageKind::kXor) << kKindShift);
  counts_.xored++;
}

void SectionWriter::closeBlock() {
  const size_t raw = blockPages_ * kPageBytes;
  const size_t at = payload_.size();
  payload_.resize(at + ZSTD_compressBound(raw));
  size_t stored = ZSTD_compressCCtx(zstd_, payload_.data() + at, payload_.size() - at, block_.get(), raw, kLevel);
  if (ZSTD_isError(stored) || stored >= raw) {  // does not shrink: as it is
    std::memcpy(payload_.data() + at, block_.get(), raw);
    stored = raw;
  }
  payload_.resize(at + stored);
  blocks_.push_back(static_cast<uint32_t>(stored));
  blocks_.push_back(crc32c(payload_.data() + at, stored));
  blockPages_ = 0;
}

std::vector<uint8_t> SectionWriter::finish() {
  if (blockPages_ > 0) closeBlock();
  Header header{};
  header.magic = section::kMagic;
  header.version = section::kVersion;
  header.flags = full_ ? section::kFull : 0;
  header.memoryPages = static_cast<uint32_t>(memoryPages_);
  header.pages = static_cast<uint32_t>(index_.size());
  header.blocks = static_cast<uint32_t>(blocks_.size() / 2);
  header.tablesCrc = crcOfTables(index_, blocks_);
  header.payloadBytes = payload_.size();
  header.headerCrc = crc32c(&header, sizeof header - sizeof header.headerCrc);
  std::vector<uint8_t> out(sizeof header + (index_.size() + blocks_.size()) * 4 + payload_.size());
  uint8_t* to = out.data();
  const auto append = [&to](const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
    to += bytes;
  };
  append(&header, sizeof header);
  append(index_.data(), index_.size() * 4);
  append(blocks_.data(), blocks_.size() * 4);
  append(payload_.data(), payload_.size());
  return out;
}

SectionReader::SectionReader(std::span<const uint8_t> bytes) {
  Header header;
  if (bytes.size() < sizeof header) bad("shorter than its header");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != section::kMagic) bad("not a page section");
  if (header.headerCrc != crc32c(bytes.data(), sizeof header - sizeof header.headerCrc)) bad("the header's checksum does not match");
  if (header.version != section::kVersion) bad("version " + std::to_string(header.version) + " is not known");
  if ((header.flags & ~section::kFull) != 0 || header.reserved != 0) bad("unknown flags");
  if (header.memoryPages > kMaxPages) bad("more memory than there can be");
  if (header.pages > header.memoryPages) bad("more pages than the memory has");
  const uint64_t tables = 4ull * header.pages + 8ull * header.blocks;
  const uint64_t rest = bytes.size() - sizeof header;
  if (tables > rest || header.payloadBytes != rest - tables) bad("its length does not match its counts");
  full_ = header.flags & section::kFull;
  memoryPages_ = header.memoryPages;
  index_.resize(header.pages);
  blocks_.resize(size_t{header.blocks} * 2);
  const uint8_t* at = bytes.data() + sizeof header;
  if (!index_.empty()) std::memcpy(index_.data(), at, index_.size() * 4);
  if (!blocks_.empty()) std::memcpy(blocks_.data(), at + index_.size() * 4, blocks_.size() * 4);
  if (header.tablesCrc != crcOfTables(index_, blocks_)) bad("the tables' checksum does not match");
  payload_ = bytes.last(static_cast<size_t>(header.payloadBytes));

  int64_t previous = -1;
  for (const uint32_t entry : index_) {
    const int64_t page = entry & kPageMask;
    if (page <= previous || page >= static_cast<int64_t>(memoryPages_)) bad("page numbers out of order or of bounds");
    previous = page;
    switch (entry >> kKindShift) {
      case static_cast<uint32_t>(PageKind::kZero): counts_.zero++; break;
      case static_cast<uint32_t>(PageKind::kRaw): counts_.raw++; break;
      case static_cast<uint32_t>(PageKind::kXor): counts_.xored++; break;
      default: bad("a page of unknown kind");
    }
  }
  if (full_ && counts_.xored > 0) bad("a full section has no parent to XOR with");
  const size_t stored = counts_.raw + counts_.xored;
  if (header.blocks != (stored + section::kBlockPages - 1) / section::kBlockPages) bad("the number of blocks does not match its pages");
  uint64_t sum = 0;
  for (size_t block = 0; block < header.blocks; block++) {
    const size_t pages = std::min(section::kBlockPages, stored - block * section::kBlockPages);
    if (blocks_[2 * block] == 0 || blocks_[2 * block] > pages * kPageBytes) bad("a block is longer than its content");
    sum += blocks_[2 * block];
  }
  if (sum != header.payloadBytes) bad("the blocks do not fill the payload");
}

int64_t SectionReader::maxPage() const { return index_.empty() ? -1 : static_cast<int64_t>(index_.back() & kPageMask); }

void SectionReader::each(const std::function<void(PageNumber, PageKind, const uint8_t*)>& page) const {
  struct Free {
    void operator()(ZSTD_DCtx* zstd) const { ZSTD_freeDCtx(zstd); }
  };
  std::unique_ptr<ZSTD_DCtx, Free> zstd(ZSTD_createDCtx());
  if (!zstd) throw std::bad_alloc();
  const std::unique_ptr<uint8_t[]> block(new uint8_t[section::kBlockBytes]);
  const size_t stored = counts_.raw + counts_.xored;
  const uint8_t* from = payload_.data();
  const uint8_t* content = nullptr;
  size_t seen = 0;
  for (const uint32_t entry : index_) {
    const auto kind = static_cast<PageKind>(entry >> kKindShift);
    if (kind == PageKind::kZero) {
      page(entry & kPageMask, kind, nullptr);
      continue;
    }
    if (seen % section::kBlockPages == 0) {
      const size_t number = seen / section::kBlockPages;
      const size_t length = blocks_[2 * number];
      const size_t raw = std::min(section::kBlockPages, stored - seen) * kPageBytes;
      if (crc32c(from, length) != blocks_[2 * number + 1]) bad("the checksum of block " + std::to_string(number) + " does not match");
      content = from;
      if (length != raw) {
        if (ZSTD_decompressDCtx(zstd.get(), block.get(), raw, from, length) != raw) bad("block " + std::to_string(number) + " does not decompress");
        content = block.get();
      }
      from += length;
    }
    page(entry & kPageMask, kind, content + seen % section::kBlockPages * kPageBytes);
    seen++;
  }
}

void SectionReader::check() const {
  each([](PageNumber, PageKind, const uint8_t*) {});
}

}  // namespace virtcft
