// The page section: one VM's written pages as they travel and are stored. Format: docs/formats/page-section.md.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <shared_mutex>
#include <span>
#include <vector>

#include "../memory/page.h"

namespace virtcft {

/** `kXor`: all bytes XOR the parent's. `kReference`: a raw page of another section. `kPatch`: the words that differ (patch.h), of version 2, where it has the number of `kXor`. */
enum class PageKind : uint8_t { kZero = 0, kRaw = 1, kXor = 2, kReference = 3, kPatch = 4 };

namespace section {
inline constexpr uint32_t kMagic = 0x53504356;  // "VCPS"
inline constexpr uint16_t kVersion = 4;         // where pages of others are referred to; 1 and 2 are read
inline constexpr uint16_t kVersionAlone = 3;    // written where no page is one of another section
inline constexpr uint16_t kFull = 1;            // flag: pages that are not listed are zero
inline constexpr size_t kHeaderBytes = 40;
inline constexpr size_t kBlockPages = 64;       // of versions 1 and 2; what a reader gathers at once
inline constexpr size_t kBlockBytes = kBlockPages * kPageBytes;
inline constexpr size_t kMostBlockPages = 1024;
inline constexpr size_t kLaneBytes = 256 << 10;  // of a block: fits the second-level cache, compresses as well as more
inline constexpr size_t kMostSources = 512;      // a pack's index names each with some 300 bytes
inline constexpr size_t kMostReferences = 65536; // what 28 bytes stand for is read into memory, at most 256 MiB
inline constexpr size_t kFewestReferredBytes = 1024;  // of random words: for less a reference saves little, and makes more depend on an old segment
}  // namespace section

struct SectionCounts {
  size_t zero = 0;
  size_t raw = 0;
  size_t xored = 0;
  size_t referred = 0;
  size_t pages() const { return zero + raw + xored + referred; }
};

/** SHA-256 of a segment. */
using SegmentName = std::array<uint8_t, 32>;
/** The first 16 bytes of the SHA-256 of a page. */
using PageHash = std::array<uint8_t, 16>;
/** A page that the section of another segment holds raw. */
struct PageReference {
  uint32_t source;  // position among the section's sources
  PageNumber page;
  PageHash hash;
};

class PageCatalog;

/** The page that follows, read into the cache while one is encoded; nulls: none. */
struct Ahead {
  const uint8_t* content = nullptr;
  const uint8_t* parent = nullptr;
};

/** Pages are added in rising order. */
class SectionWriter {
 public:
  /** `catalog`: pages that are there are referred to; null: none. Nobody can add to it as long as this lives. */
  SectionWriter(size_t memoryPages, bool full, const PageCatalog* catalog = nullptr);
  ~SectionWriter();

  /** As what is shortest; nothing where it equals its parent. `parent`: null where there is none that a reader has. */
  void add(PageNumber page, const uint8_t* content, const uint8_t* parent, const Ahead& next = {});
  void addZero(PageNumber page);
  void addRaw(PageNumber page, const uint8_t* content);
  /** `content` is XOR the parent's. */
  void addXor(PageNumber page, const uint8_t* content);
  const SectionCounts& counts() const { return counts_; }
  /** The segments that it refers to. */
  const std::vector<SegmentName>& sources() const;
  std::vector<uint8_t> finish();

 private:
  struct Room;
  /** Encodes room_->difference. False: its words look as if zstd would find something, and there are more than `patchBytes` of them. */
  bool put(PageNumber page, PageKind kind, size_t patchBytes);
  /** False: it has another content. */
  bool refer(PageNumber page, const uint8_t* content, size_t candidate);
  void putRaw(PageNumber page, const uint8_t* content);
  void closeBlock();

  size_t memoryPages_;
  bool full_;
  const PageCatalog* catalog_;
  std::shared_lock<std::shared_mutex> reading_;
  SectionCounts counts_;
  std::unique_ptr<Room> room_;
};

/** A page section whose structure and checksums hold. `bytes` must outlive it. */
class SectionReader {
 public:
  /** EBADSECTION with what is wrong. */
  explicit SectionReader(std::span<const uint8_t> bytes);

  bool full() const { return full_; }
  size_t memoryPages() const { return memoryPages_; }
  const SectionCounts& counts() const { return counts_; }
  /** -1 when there is no page. */
  int64_t maxPage() const;
  /**
   * Calls `page` for every page in rising order; `bytes` is null for zero pages. EBADSECTION when a block does not decompress to what it must:
   * then some pages were seen already, so run it once without effect before changing anything (`check`). EBADSECTION, too, of a section with references.
   */
  void each(const std::function<void(PageNumber, PageKind, const uint8_t* bytes)>& page) const;
  /** As `each`, also of a section with references: `bytes` is null for those, which come in the order of `references`. */
  void eachStored(const std::function<void(PageNumber, PageKind, const uint8_t* bytes)>& page) const;
  void check() const;
  const std::vector<SegmentName>& sources() const { return sources_; }
  /** One for each page of that kind, in order. */
  const std::vector<PageReference>& references() const { return references_; }

 private:
  /** Part of a block: a zstd frame where stored and content differ. */
  struct Part {
    uint32_t stored, content;
  };
  struct Block {
    uint32_t pages;
    Part codes, dense;  // before version 3: no codes, all of the block is dense
    uint32_t plain, crc;
    size_t stored() const { return size_t{plain} + codes.stored + dense.stored; }
  };
  class Unpacked;
  /** Version 3's; earlier ones'. */
  void readBlock(const uint8_t* at, size_t pagesLeft);
  void readOldBlock(const uint8_t* at, size_t pagesLeft);
  void readReferences(const uint8_t* at, size_t sources);
  std::span<const uint8_t> payload_;
  uint16_t version_ = 0;
  bool full_ = false;
  size_t memoryPages_ = 0;
  SectionCounts counts_;
  std::vector<uint32_t> index_;
  std::vector<Block> blocks_;
  std::vector<SegmentName> sources_;
  std::vector<PageReference> references_;
};

}  // namespace virtcft
