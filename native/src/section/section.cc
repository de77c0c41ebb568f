#include "section.h"

#include <zstd.h>

#include <algorithm>
#include <new>
#include <string>

#include "../memory/failure.h"
#include "crc32c.h"
#include "page_code.h"
#include "patch.h"
#include "section_layout.h"

namespace virtcft {

namespace {
[[noreturn]] void bad(const std::string& what) { throw Failure(code::kBadSection, "page section refused: " + what); }
}  // namespace

SectionReader::SectionReader(std::span<const uint8_t> bytes) {
  section::Header header;
  if (bytes.size() < sizeof header) bad("shorter than its header");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != section::kMagic) bad("not a page section");
  if (header.headerCrc != crc32c(bytes.data(), sizeof header - sizeof header.headerCrc)) bad("the header's checksum does not match");
  if (header.version == 0 || header.version > section::kVersion) bad("version " + std::to_string(header.version) + " is not known");
  if ((header.flags & ~section::kFull) != 0 || (header.version < 4 && header.sources != 0)) bad("unknown flags");
  if (header.memoryPages > kMaxPages) bad("more memory than there can be");
  if (header.pages > header.memoryPages) bad("more pages than the memory has");
  const size_t entryBytes = header.version == 1 ? section::kEntryBytesV1 : header.version == 2 ? section::kEntryBytesV2 : sizeof(section::BlockEntry);
  const uint64_t rest = bytes.size() - sizeof header;
  if (4ull * header.pages > rest) bad("its length does not match its counts");
  const uint8_t* at = bytes.data() + sizeof header;
  index_.resize(header.pages);
  if (!index_.empty()) std::memcpy(index_.data(), at, index_.size() * 4);
  const auto referred = header.version < 4 ? 0 : std::count_if(index_.begin(), index_.end(), [](uint32_t entry) { return entry >> section::kKindShift == static_cast<uint32_t>(PageKind::kReference); });
  const uint64_t tables = 4ull * header.pages + uint64_t{entryBytes} * header.blocks + sizeof(SegmentName) * uint64_t{header.sources} + sizeof(PageReference) * static_cast<uint64_t>(referred);
  if (tables > rest || header.payloadBytes != rest - tables) bad("its length does not match its counts");
  version_ = header.version;
  full_ = header.flags & section::kFull;
  memoryPages_ = header.memoryPages;
  if (header.tablesCrc != crc32c(at, static_cast<size_t>(tables))) bad("the tables' checksum does not match");
  at += index_.size() * 4;
  payload_ = bytes.last(static_cast<size_t>(header.payloadBytes));

  int64_t previous = -1;
  for (const uint32_t entry : index_) {
    const int64_t page = entry & section::kPageMask;
    if (page <= previous || page >= static_cast<int64_t>(memoryPages_)) bad("page numbers out of order or of bounds");
    previous = page;
    switch (entry >> section::kKindShift) {
      case static_cast<uint32_t>(PageKind::kZero): counts_.zero++; break;
      case static_cast<uint32_t>(PageKind::kRaw): counts_.raw++; break;
      case static_cast<uint32_t>(PageKind::kXor): counts_.xored++; break;
      default:
        if (version_ < 4) bad("a page of unknown kind");
        counts_.referred++;
    }
  }
  if (full_ && counts_.xored > 0) bad("a full section has no parent to XOR with");
  size_t left = counts_.raw + counts_.xored;
  uint64_t sum = 0;
  for (size_t number = 0; number < header.blocks; number++, at += entryBytes) {
    version_ < 3 ? readOldBlock(at, left) : readBlock(at, left);
    left -= blocks_.back().pages;
    sum += blocks_.back().stored();
  }
  readReferences(at, header.sources);
  if (left > 0) bad("the blocks hold fewer pages than the index");
  if (sum != header.payloadBytes) bad("the blocks do not fill the payload");
}

void SectionReader::readBlock(const uint8_t* at, size_t pagesLeft) {
  section::BlockEntry entry;
  std::memcpy(&entry, at, sizeof entry);
  const Block block{entry.pages, {entry.codesStored, entry.codesContent}, {entry.denseStored, entry.denseContent}, entry.plain, entry.crc};
  if (block.pages == 0 || block.pages > section::kMostBlockPages || block.pages > pagesLeft) bad("a block holds no pages, or more than there are");
  for (const Part& part : {block.codes, block.dense}) {
    if (part.content > section::kLaneBytes || part.stored > part.content || (part.stored == 0) != (part.content == 0)) bad("a part of a block is longer than it may be");
  }
  if (block.plain > section::kLaneBytes) bad("a block's plain words are more than there may be");
  blocks_.push_back(block);
}

void SectionReader::readOldBlock(const uint8_t* at, size_t pagesLeft) {
  if (pagesLeft == 0) bad("more blocks than pages");
  const auto pages = static_cast<uint32_t>(std::min(section::kBlockPages, pagesLeft));
  Block block{pages, {0, 0}, {0, pages * static_cast<uint32_t>(kPageBytes)}, 0, 0};
  const uint32_t most = block.dense.content;
  std::memcpy(&block.dense.stored, at, 4);
  if (version_ > 1) std::memcpy(&block.dense.content, at + 4, 4);
  std::memcpy(&block.crc, at + (version_ > 1 ? section::kEntryBytesV2 : section::kEntryBytesV1) - 4, 4);
  if (block.dense.content > most) bad("a block's content is longer than its pages");
  if (block.dense.stored == 0 || block.dense.stored > block.dense.content) bad("a block is longer than its content");
  blocks_.push_back(block);
}

void SectionReader::readReferences(const uint8_t* at, size_t sources) {
  if (sources > section::kMostSources || counts_.referred > section::kMostReferences) bad("it refers to more than it may");
  sources_.resize(sources);
  references_.resize(counts_.referred);
  if (sources > 0) std::memcpy(sources_.data(), at, sources * sizeof(SegmentName));
  if (counts_.referred > 0) std::memcpy(references_.data(), at + sources * sizeof(SegmentName), counts_.referred * sizeof(PageReference));
  std::vector<bool> used(sources);
  for (const PageReference& reference : references_) {
    if (reference.source >= sources || reference.page > section::kPageMask) bad("a reference to a segment that it does not name, or to no page");
    used[reference.source] = true;
  }
  if (std::find(used.begin(), used.end(), false) != used.end()) bad("it names a segment that it does not refer to");
}

int64_t SectionReader::maxPage() const { return index_.empty() ? -1 : static_cast<int64_t>(index_.back() & section::kPageMask); }

/** One block at a time, checked and decompressed. */
class SectionReader::Unpacked {
 public:
  Unpacked() : zstd_(ZSTD_createDCtx()), codesRoom_(new uint8_t[section::kLaneBytes]), denseRoom_(new uint8_t[section::kLaneBytes]) {
    if (!zstd_) throw std::bad_alloc();
  }
  void open(const Block& block, size_t number, const uint8_t* from) {
    close();
    if (crc32c(from, block.stored()) != block.crc) bad("the checksum of block " + std::to_string(number) + " does not match");
    plain = {from, from + block.plain};
    codes = part(block.codes, plain.end, codesRoom_.get(), number);
    dense = part(block.dense, plain.end + block.codes.stored, denseRoom_.get(), number);
  }
  void close() const {
    if (codes.left() > 0 || dense.left() > 0 || plain.left() > 0) bad("a block holds more than its pages");
  }

  pagecode::Cursor codes, dense, plain;

 private:
  struct Free {
    void operator()(ZSTD_DCtx* zstd) const { ZSTD_freeDCtx(zstd); }
  };
  pagecode::Cursor part(const Part& part, const uint8_t* from, uint8_t* room, size_t number) const {
    if (part.stored == part.content) return {from, from + part.stored};
    if (ZSTD_decompressDCtx(zstd_.get(), room, part.content, from, part.stored) != part.content) bad("block " + std::to_string(number) + " does not decompress");
    return {room, room + part.content};
  }
  std::unique_ptr<ZSTD_DCtx, Free> zstd_;
  std::unique_ptr<uint8_t[]> codesRoom_, denseRoom_;
};

void SectionReader::each(const std::function<void(PageNumber, PageKind, const uint8_t*)>& page) const {
  if (counts_.referred > 0) bad("pages of it lie in other segments, and were not put in");
  eachStored(page);
}

void SectionReader::eachStored(const std::function<void(PageNumber, PageKind, const uint8_t*)>& page) const {
  Unpacked block;
  uint8_t content[kPageBytes];
  const uint8_t* from = payload_.data();
  size_t number = 0, left = 0;
  for (const uint32_t entry : index_) {
    const auto kind = static_cast<PageKind>(entry >> section::kKindShift);
    const PageNumber at = entry & section::kPageMask;
    if (kind == PageKind::kZero || kind == PageKind::kReference) {
      page(at, kind, nullptr);
      continue;
    }
    if (left == 0) {
      block.open(blocks_[number], number, from);
      left = blocks_[number].pages;
      from += blocks_[number].stored();
      number++;
    }
    left--;
    if (version_ > 2) {
      if (!pagecode::decode(block.codes, block.dense, block.plain, content)) bad("a page's code is not one, or does not fit into its block");
      page(at, kind, content);
      continue;
    }
    const bool patched = kind == PageKind::kXor && version_ > 1;
    const size_t length = patched ? patch::lengthOf(block.dense.at, block.dense.left()) : kPageBytes;
    if (length == 0 || length > block.dense.left()) bad("a page does not fit into its block");
    page(at, patched ? PageKind::kPatch : kind, block.dense.at);
    block.dense.at += length;
  }
  block.close();
}

void SectionReader::check() const {
  eachStored([](PageNumber, PageKind, const uint8_t*) {});
}

}  // namespace virtcft
