// The page section: one VM's written pages as they travel and are stored. Format: docs/formats/page-section.md.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "../memory/page.h"

struct ZSTD_CCtx_s;

namespace virtcft {

enum class PageKind : uint8_t { kZero = 0, kRaw = 1, kXor = 2 };

namespace section {
inline constexpr uint32_t kMagic = 0x53504356;  // "VCPS"
inline constexpr uint16_t kVersion = 1;
inline constexpr uint16_t kFull = 1;            // flag: pages that are not listed are zero
inline constexpr size_t kHeaderBytes = 40;
inline constexpr size_t kBlockPages = 64;       // 256 KiB of content per zstd frame: fits the second-level cache, compresses as well as more
inline constexpr size_t kBlockBytes = kBlockPages * kPageBytes;
}  // namespace section

struct SectionCounts {
  size_t zero = 0;
  size_t raw = 0;
  size_t xored = 0;
  size_t pages() const { return zero + raw + xored; }
};

/** Pages are added in rising order. */
class SectionWriter {
 public:
  SectionWriter(size_t memoryPages, bool full);
  ~SectionWriter();

  void addZero(PageNumber page);
  void addRaw(PageNumber page, const uint8_t* content);
  /** `content` XOR `parent` is stored. */
  void addXor(PageNumber page, const uint8_t* content, const uint8_t* parent);
  const SectionCounts& counts() const { return counts_; }
  std::vector<uint8_t> finish();

 private:
  uint8_t* next();
  void closeBlock();

  size_t memoryPages_;
  bool full_;
  SectionCounts counts_;
  std::vector<uint32_t> index_;
  std::vector<uint32_t> blocks_;  // stored bytes, CRC; pairs
  std::vector<uint8_t> payload_;
  std::unique_ptr<uint8_t[]> block_;
  size_t blockPages_ = 0;
  ZSTD_CCtx_s* zstd_;
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
  std::span<const uint8_t> payload_;
  bool full_ = false;
  size_t memoryPages_ = 0;
  SectionCounts counts_;
  std::vector<uint32_t> index_;
  std::vector<uint32_t> blocks_;
};

}  // namespace virtcft
