#include "section.h"

#include <zstd.h>

#include <algorithm>
#include <bit>
#include <new>

#include "crc32c.h"
#include "page_catalog.h"
#include "page_code.h"
#include "section_layout.h"

namespace virtcft {

static_assert(std::endian::native == std::endian::little, "sections are little-endian and written as they lie in memory");

namespace {
constexpr int kLevel = -2;              // of level 1 a sixth more of all encoding for one to four per cent fewer bytes; encoding competes with the guests for the processor
constexpr size_t kPatchBytes = 2048;    // with more than half of its words changed a page is as well written anew: it needs no parent then
constexpr size_t kNarrowBytes = pagecode::kMostNarrowWords * pagecode::kWordBytes;
constexpr size_t kCodesShare = 4;       // codes that are less than a quarter of a block: zstd of them costs time for a few per cent of the bytes
constexpr size_t kAnewWords = 448;      // of a page: where more changed it was written anew, most likely, and may be what others write or wrote
constexpr size_t kKeptBytes = 8 << 20;  // payload that a thread keeps room for
}  // namespace

/** Where blocks are gathered and compressed. Kept for the next writer of the thread: to have it from the system anew costs as much as encoding some tens of pages. */
struct SectionWriter::Room {
  pagecode::Difference difference;
  uint8_t codes[section::kLaneBytes];
  uint8_t dense[section::kLaneBytes];
  std::vector<uint32_t> index;
  std::vector<section::BlockEntry> blocks;
  std::vector<PageReference> references;
  std::vector<SegmentName> sources;
  std::vector<uint64_t> known;  // the catalog's numbers of the sources
  std::unique_ptr<uint8_t[]> payload;
  size_t payloadRoom = 0;
  size_t payloadBytes = 0;  // with the plain words of the open block
  size_t blockStart = 0;
  size_t pages = 0, codesBytes = 0, denseBytes = 0;
  ZSTD_CCtx* zstd = ZSTD_createCCtx();
  ~Room() { ZSTD_freeCCtx(zstd); }

  void clear() {
    index.clear();
    blocks.clear();
    references.clear();
    sources.clear();
    known.clear();
    payloadBytes = blockStart = pages = codesBytes = denseBytes = 0;
    if (payloadRoom > kKeptBytes) payload.reset(), payloadRoom = 0;
  }
  uint8_t* end() { return payload.get() + payloadBytes; }
  void reserve(size_t bytes) {
    if (payloadRoom - payloadBytes >= bytes) return;
    payloadRoom = std::max(2 * payloadRoom, payloadBytes + bytes);
    auto larger = std::make_unique_for_overwrite<uint8_t[]>(payloadRoom);
    if (payloadBytes > 0) std::memcpy(larger.get(), payload.get(), payloadBytes);
    payload = std::move(larger);
  }
  /** As a zstd frame where that is wanted and shorter; returns the bytes stored. */
  uint32_t pack(const uint8_t* from, size_t bytes, bool compress) {
    if (bytes == 0) return 0;
    const size_t bound = ZSTD_compressBound(bytes);
    reserve(bound);
    size_t stored = compress ? ZSTD_compressCCtx(zstd, end(), bound, from, bytes, kLevel) : bytes;
    if (ZSTD_isError(stored) || stored >= bytes) {
      std::memcpy(end(), from, bytes);
      stored = bytes;
    }
    payloadBytes += stored;
    return static_cast<uint32_t>(stored);
  }

  static std::unique_ptr<Room>& kept() {
    thread_local std::unique_ptr<Room> room;
    return room;
  }
  static std::unique_ptr<Room> take() {
    std::unique_ptr<Room> room = std::move(kept());
    if (!room) room.reset(new Room);
    if (!room->zstd) throw std::bad_alloc();
    room->clear();
    return room;
  }
  static void giveBack(std::unique_ptr<Room> room) {
    if (!kept()) kept() = std::move(room);
  }
};

SectionWriter::SectionWriter(size_t memoryPages, bool full, const PageCatalog* catalog) : memoryPages_(memoryPages), full_(full), catalog_(catalog), room_(Room::take()) {
  if (catalog) reading_ = catalog->reading();
}

SectionWriter::~SectionWriter() { Room::giveBack(std::move(room_)); }

bool SectionWriter::put(PageNumber page, PageKind kind, size_t patchBytes) {
  Room& room = *room_;
  room.reserve(kPageBytes + pagecode::kGroupWords * pagecode::kWordBytes);
  uint8_t* const head = room.codes + room.codesBytes;
  uint8_t* const words = room.end();
  const pagecode::Length length = pagecode::encode(room.difference, head + pagecode::kHeadBytes, words);
  size_t codeBytes = pagecode::kHeadBytes + length.steps;
  pagecode::Lane lane = pagecode::Lane::kPlain;
  if (pagecode::looksRandom(words, length.words)) {
    room.payloadBytes += length.words;
  } else if (length.words > patchBytes) {
    return false;
  } else if (kind == PageKind::kXor && length.words <= kNarrowBytes) {
    lane = pagecode::Lane::kNarrow;
    codeBytes += pagecode::narrow(words, length.words / pagecode::kWordBytes, head + codeBytes);
  } else {
    lane = pagecode::Lane::kDense;
    std::memcpy(room.dense + room.denseBytes, words, length.words);
    room.denseBytes += length.words;
  }
  *head = static_cast<uint8_t>(lane);
  room.codesBytes += codeBytes;
  room.index.push_back(page | static_cast<uint32_t>(kind) << section::kKindShift);
  (kind == PageKind::kXor ? counts_.xored : counts_.raw)++;
  room.pages++;
  const bool hasRoom = room.codesBytes + pagecode::kMostCodeBytes + pagecode::kWordBytes <= sizeof room.codes && room.denseBytes + kPageBytes <= sizeof room.dense &&
                       room.payloadBytes - room.blockStart + kPageBytes <= section::kLaneBytes;
  if (room.pages == section::kMostBlockPages || !hasRoom) closeBlock();
  return true;
}

void SectionWriter::add(PageNumber page, const uint8_t* content, const uint8_t* parent, const Ahead& next) {
  if (content == parent) return;
  if (!parent) return isZeroPage(content) ? addZero(page) : addRaw(page, content);
  pagecode::compare(content, parent, room_->difference, next.content, next.parent);
  if (room_->difference.changed == 0) return;
  if (isZeroPage(content)) return addZero(page);
  // As it is, not against its parent: so that others can refer to it.
  if (catalog_ && room_->difference.changed >= kAnewWords && pagecode::differsAtRandom(room_->difference)) return addRaw(page, content);
  if (!put(page, PageKind::kXor, kPatchBytes)) putRaw(page, content);
}

void SectionWriter::addXor(PageNumber page, const uint8_t* content) {
  pagecode::compare(content, nullptr, room_->difference);
  put(page, PageKind::kXor, kPageBytes);
}

void SectionWriter::addZero(PageNumber page) {
  room_->index.push_back(page | static_cast<uint32_t>(PageKind::kZero) << section::kKindShift);
  counts_.zero++;
}

bool SectionWriter::refer(PageNumber page, const uint8_t* content, size_t candidate) {
  Room& room = *room_;
  const auto found = catalog_->find(candidate, content);
  if (!found || room.references.size() == section::kMostReferences) return false;
  // Mostly the newest: who writes what another wrote does so in the same order.
  size_t source = room.known.size();
  while (source > 0 && room.known[source - 1] != found->source) source--;
  if (source == 0) {
    room.known.push_back(found->source);
    room.sources.push_back(catalog_->nameOf(found->source));
    source = room.known.size();
  }
  room.references.push_back({static_cast<uint32_t>(source - 1), found->page, found->hash});
  room.index.push_back(page | static_cast<uint32_t>(PageKind::kReference) << section::kKindShift);
  counts_.referred++;
  return true;
}

const std::vector<SegmentName>& SectionWriter::sources() const { return room_->sources; }

void SectionWriter::addRaw(PageNumber page, const uint8_t* content) {
  if (!catalog_) return putRaw(page, content);
  const uint64_t fingerprint = PageCatalog::fingerprintOf(content);
  catalog_->expect(fingerprint);
  pagecode::compare(content, nullptr, room_->difference);
  const std::optional<size_t> candidate = catalog_->candidate(fingerprint);
  if (!candidate || !refer(page, content, *candidate)) put(page, PageKind::kRaw, kPageBytes);
}

void SectionWriter::putRaw(PageNumber page, const uint8_t* content) {
  pagecode::compare(content, nullptr, room_->difference);
  put(page, PageKind::kRaw, kPageBytes);
}

void SectionWriter::closeBlock() {
  Room& room = *room_;
  section::BlockEntry block{};
  block.pages = static_cast<uint32_t>(room.pages);
  block.plain = static_cast<uint32_t>(room.payloadBytes - room.blockStart);
  block.codesContent = static_cast<uint32_t>(room.codesBytes);
  block.denseContent = static_cast<uint32_t>(room.denseBytes);
  block.codesStored = room.pack(room.codes, room.codesBytes, room.codesBytes * kCodesShare > room.codesBytes + room.denseBytes + block.plain);
  block.denseStored = room.pack(room.dense, room.denseBytes, true);
  block.crc = crc32c(room.payload.get() + room.blockStart, room.payloadBytes - room.blockStart);
  room.blocks.push_back(block);
  room.blockStart = room.payloadBytes;
  room.pages = room.codesBytes = room.denseBytes = 0;
}

std::vector<uint8_t> SectionWriter::finish() {
  Room& room = *room_;
  if (room.pages > 0) closeBlock();
  const size_t indexBytes = room.index.size() * sizeof(uint32_t), tableBytes = room.blocks.size() * sizeof(section::BlockEntry);
  const size_t sourceBytes = room.sources.size() * sizeof(SegmentName), referenceBytes = room.references.size() * sizeof(PageReference);
  section::Header header{};
  header.magic = section::kMagic;
  header.version = room.sources.empty() ? section::kVersionAlone : section::kVersion;
  header.flags = full_ ? section::kFull : 0;
  header.memoryPages = static_cast<uint32_t>(memoryPages_);
  header.pages = static_cast<uint32_t>(room.index.size());
  header.blocks = static_cast<uint32_t>(room.blocks.size());
  header.tablesCrc = crc32c(room.blocks.data(), tableBytes, crc32c(room.index.data(), indexBytes));
  header.tablesCrc = crc32c(room.references.data(), referenceBytes, crc32c(room.sources.data(), sourceBytes, header.tablesCrc));
  header.sources = static_cast<uint32_t>(room.sources.size());
  header.payloadBytes = room.payloadBytes;
  header.headerCrc = crc32c(&header, sizeof header - sizeof header.headerCrc);
  std::vector<uint8_t> out;
  out.reserve(sizeof header + indexBytes + tableBytes + sourceBytes + referenceBytes + room.payloadBytes);
  const auto append = [&out](const void* from, size_t bytes) {
    const auto* at = static_cast<const uint8_t*>(from);
    if (bytes > 0) out.insert(out.end(), at, at + bytes);
  };
  append(&header, sizeof header);
  append(room.index.data(), indexBytes);
  append(room.blocks.data(), tableBytes);
  append(room.sources.data(), sourceBytes);
  append(room.references.data(), referenceBytes);
  append(room.payload.get(), room.payloadBytes);
  return out;
}

}  // namespace virtcft
