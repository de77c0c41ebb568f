// The page section: one VM's written pages as they travel and are stored. Format: docs/formats/page-section.md.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "../memory/page.h"

namespace virtcft {

/** `kXor`: all bytes XOR the parent's. `kPatch`: the words that differ (patch.h), of version 2, where it has the number of `kXor`. */
enum class PageKind : uint8_t { kZero = 0, kRaw = 1, kXor = 2, kPatch = 3 };

namespace section {
inline constexpr uint32_t kMagic = 0x53504356;  // "VCPS"
inline constexpr uint16_t kVersion = 3;         // that is written; 1 and 2 are read
inline constexpr uint16_t kFull = 1;            // flag: pages that are not listed are zero
inline constexpr size_t kHeaderBytes = 40;
inline constexpr size_t kBlockPages = 64;       // of versions 1 and 2; what a reader gathers at once
inline constexpr size_t kBlockBytes = kBlockPages * kPageBytes;
inline constexpr size_t kMostBlockPages = 1024;
inline constexpr size_t kLaneBytes = 256 << 10;  // of a block: fits the second-level cache, compresses as well as more
}  // namespace section

struct SectionCounts {
  size_t zero = 0;
  size_t raw = 0;
  size_t xored = 0;
  size_t pages() const { return zero + raw + xored; }
};

/** The page that follows, read into the cache while one is encoded; nulls: none. */
struct Ahead {
  const uint8_t* content = nullptr;
  const uint8_t* parent = nullptr;
};

/** Pages are added in rising order. */
class SectionWriter {
 public:
  SectionWriter(size_t memoryPages, bool full);
  ~SectionWriter();

  /** As what is shortest; nothing where it equals its parent. `parent`: null where there is none that a reader has. */
  void add(PageNumber page, const uint8_t* content, const uint8_t* parent, const Ahead& next = {});
  void addZero(PageNumber page);
  void addRaw(PageNumber page, const uint8_t* content);
  const SectionCounts& counts() const { return counts_; }
  std::vector<uint8_t> finish();

 private:
  struct Room;
  /** Encodes room_->difference. False: its words look as if zstd would find something, and there are more than `patchBytes` of them. */
  bool put(PageNumber page, PageKind kind, size_t patchBytes);
  void closeBlock();

  size_t memoryPages_;
  bool full_;
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
   * then some pages were seen already, so run it once without effect before changing anything (`check`).
   */
  void each(const std::function<void(PageNumber, PageKind, const uint8_t* bytes)>& page) const;
  void check() const;

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
  std::span<const uint8_t> payload_;
  uint16_t version_ = 0;
  bool full_ = false;
  size_t memoryPages_ = 0;
  SectionCounts counts_;
  std::vector<uint32_t> index_;
  std::vector<Block> blocks_;
};

}  // namespace virtcft
