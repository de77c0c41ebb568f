#include "section.h"

#include <zstd.h>

#include <algorithm>
#include <bit>
#include <new>
#include <string>

#include "../memory/failure.h"
#include "crc32c.h"
#include "patch.h"

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

constexpr size_t kWordsPerBlock = 3;
constexpr size_t kWordsPerBlockV1 = 2;  // all contents had a page's length

}  // namespace

/** Where a block is gathered and compressed. Kept for the next writer of the thread: to have it from the system anew costs as much as encoding some tens of pages. */
struct SectionWriter::Room {
  uint8_t block[section::kBlockBytes];
  uint8_t stored[ZSTD_COMPRESSBOUND(section::kBlockBytes)];
  ZSTD_CCtx* zstd = ZSTD_createCCtx();
  ~Room() { ZSTD_freeCCtx(zstd); }

  static std::unique_ptr<Room>& kept() {
    thread_local std::unique_ptr<Room> room;
    return room;
  }
  static std::unique_ptr<Room> take() {
    std::unique_ptr<Room> room = std::move(kept());
    if (!room) room = std::make_unique_for_overwrite<Room>();
    if (!room->zstd) throw std::bad_alloc();
    return room;
  }
  static void giveBack(std::unique_ptr<Room> room) {
    if (!kept()) kept() = std::move(room);
  }
};

SectionWriter::SectionWriter(size_t memoryPages, bool full)
    : memoryPages_(memoryPages), full_(full), room_(Room::take()) {}

SectionWriter::~SectionWriter() { Room::giveBack(std::move(room_)); }

uint8_t* SectionWriter::next() {
  if (blockPages_ == section::kBlockPages) closeBlock();
  return room_->block + blockBytes_;
}

void SectionWriter::took(PageNumber page, PageKind kind, size_t bytes) {
  blockPages_++;
  blockBytes_ += bytes;
  index_.push_back(page | static_cast<uint32_t>(kind) << kKindShift);
}

void SectionWriter::add(PageNumber page, const uint8_t* content, const uint8_t* parent) {
  if (content == parent) return;
  // Free room in a block is a page's at least, which is more than the longest patch and its last group.
  const size_t bytes = parent ? patch::make(content, parent, next()) : 0;
  if (bytes == patch::kMapBytes) return;
  if (isZeroPage(content)) return addZero(page);
  if (bytes == 0) return addRaw(page, content);
  took(page, PageKind::kXor, bytes);
  counts_.xored++;
}

void SectionWriter::addZero(PageNumber page) {
  index_.push_back(page | static_cast<uint32_t>(PageKind::kZero) << kKindShift);
  counts_.zero++;
}

void SectionWriter::addRaw(PageNumber page, const uint8_t* content) {
  std::memcpy(next(), content, kPageBytes);
  took(page, PageKind::kRaw, kPageBytes);
  counts_.raw++;
}

void SectionWriter::closeBlock() {
  const size_t content = blockBytes_;
  size_t stored = ZSTD_compressCCtx(room_->zstd, room_->stored, ZSTD_compressBound(content), room_->block, content, kLevel);
  const uint8_t* from = room_->stored;
  if (ZSTD_isError(stored) || stored >= content) {  // does not shrink: as it is
    from = room_->block;
    stored = content;
  }
  payload_.insert(payload_.end(), from, from + stored);
  blocks_.insert(blocks_.end(), {static_cast<uint32_t>(stored), static_cast<uint32_t>(content), crc32c(from, stored)});
  blockPages_ = 0;
  blockBytes_ = 0;
}

std::vector<uint8_t> SectionWriter::finish() {
  if (blockPages_ > 0) closeBlock();
  Header header{};
  header.magic = section::kMagic;
  header.version = section::kVersion;
  header.flags = full_ ? section::kFull : 0;
  header.memoryPages = static_cast<uint32_t>(memoryPages_);
  header.pages = static_cast<uint32_t>(index_.size());
  header.blocks = static_cast<uint32_t>(blocks_.size() / kWordsPerBlock);
  header.tablesCrc = crc32c(blocks_.data(), blocks_.size() * 4, crc32c(index_.data(), index_.size() * 4));
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
  if (header.version == 0 || header.version > section::kVersion) bad("version " + std::to_string(header.version) + " is not known");
  if ((header.flags & ~section::kFull) != 0 || header.reserved != 0) bad("unknown flags");
  if (header.memoryPages > kMaxPages) bad("more memory than there can be");
  if (header.pages > header.memoryPages) bad("more pages than the memory has");
  const size_t wordsPerBlock = header.version == 1 ? kWordsPerBlockV1 : kWordsPerBlock;
  const uint64_t tables = 4ull * header.pages + 4ull * wordsPerBlock * header.blocks;
  const uint64_t rest = bytes.size() - sizeof header;
  if (tables > rest || header.payloadBytes != rest - tables) bad("its length does not match its counts");
  version_ = header.version;
  full_ = header.flags & section::kFull;
  memoryPages_ = header.memoryPages;
  index_.resize(header.pages);
  const uint8_t* at = bytes.data() + sizeof header;
  if (header.tablesCrc != crc32c(at, static_cast<size_t>(tables))) bad("the tables' checksum does not match");
  if (!index_.empty()) std::memcpy(index_.data(), at, index_.size() * 4);
  at += index_.size() * 4;
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
  for (size_t number = 0; number < header.blocks; number++, at += wordsPerBlock * 4) {
    const auto most = static_cast<uint32_t>(std::min(section::kBlockPages, stored - number * section::kBlockPages) * kPageBytes);
    Block block{0, most, 0};
    std::memcpy(&block.stored, at, 4);
    if (version_ > 1) std::memcpy(&block.content, at + 4, 4);
    std::memcpy(&block.crc, at + 4 * (wordsPerBlock - 1), 4);
    if (block.content > most) bad("a block's content is longer than its pages");
    if (block.stored == 0 || block.stored > block.content) bad("a block is longer than its content");
    sum += block.stored;
    blocks_.push_back(block);
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
  const uint8_t* from = payload_.data();
  const uint8_t* content = nullptr;
  const uint8_t* end = nullptr;
  size_t seen = 0;
  for (const uint32_t entry : index_) {
    const auto kind = static_cast<PageKind>(entry >> kKindShift);
    if (kind == PageKind::kZero) {
      page(entry & kPageMask, kind, nullptr);
      continue;
    }
    if (seen % section::kBlockPages == 0) {
      const size_t number = seen / section::kBlockPages;
      const Block& at = blocks_[number];
      if (content != end) bad("a block holds more than its pages");
      if (crc32c(from, at.stored) != at.crc) bad("the checksum of block " + std::to_string(number) + " does not match");
      content = from;
      if (at.stored != at.content) {
        if (ZSTD_decompressDCtx(zstd.get(), block.get(), at.content, from, at.stored) != at.content) bad("block " + std::to_string(number) + " does not decompress");
        content = block.get();
      }
      from += at.stored;
      end = content + at.content;
    }
    const auto left = static_cast<size_t>(end - content);
    const bool patched = kind == PageKind::kXor && version_ > 1;
    const size_t length = patched ? patch::lengthOf(content, left) : kPageBytes;
    if (length == 0 || length > left) bad("a page does not fit into its block");
    page(entry & kPageMask, patched ? PageKind::kPatch : kind, content);
    content += length;
    seen++;
  }
  if (content != end) bad("a block holds more than its pages");
}

void SectionReader::check() const {
  each([](PageNumber, PageKind, const uint8_t*) {});
}

}  // namespace virtcft
