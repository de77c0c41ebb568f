// One domain's memory as its holder knows it: base, layers and what was written since (R1, I5). Knows Xen only as a source of pages.
#pragma once
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "../src/memory/image.h"

namespace virtcft::xen {

/** The RAM of a domain. */
class PageSource {
 public:
  virtual ~PageSource() = default;
  /** Which pages exist now: a ballooned page does not. */
  virtual void present(std::vector<bool>& pages) = 0;
  /** Calls `written` with pages that were written since the last call, which are then watched anew. */
  virtual void takeWritten(const std::function<void(PageNumber)>& written) = 0;
  /** Content of each page; null where there is none. */
  virtual void read(std::span<const PageNumber> pages, const std::function<void(PageNumber, const uint8_t*)>& each) = 0;
  /** Pages that others than the guest write, unseen by the log: copied at every capture, in no compare. */
  virtual std::vector<PageNumber> foreign() = 0;
};

struct CopiedPages {
  size_t pages;
  int64_t scan_us, copy_us;
};
struct EncodedPages {
  std::vector<uint8_t> section;
  size_t pages;
};
struct Compared {
  size_t differing;
  std::optional<PageNumber> first;
};

class DomainMemory {
 public:
  explicit DomainMemory(size_t pages);

  /** From now on `source` is the guest. `known`: its memory is that of `epoch` (it was built from it); else all of it is taken as written. */
  void follow(PageSource& source, std::optional<uint64_t> known);
  /** While the guest runs. */
  CopiedPages precopy();
  /** While it stands still: what was written becomes layer `epoch`, which must rise. */
  CopiedPages capture(uint64_t epoch);
  /** Every page of the guest, which stands still, against `epoch`. */
  Compared compare(uint64_t epoch);

  EncodedPages encode(std::optional<uint64_t> parent, uint64_t epoch) const;
  size_t fold(uint64_t epoch) { return image_.fold(epoch); }
  std::string digest(uint64_t epoch) const;
  /** Forgets what is newer than `epoch`, and the guest. */
  void rollback(uint64_t epoch);
  /** An image that comes in sections, complete when all did; pages that never come are zero. */
  void beginFill(uint64_t epoch);
  size_t supply(std::span<const uint8_t> section);
  void endFill() { image_.supplyRestAsZero(); }
  /** Calls `each` with the content of `epoch`, of pages for which `wanted` is set. */
  void each(uint64_t epoch, const std::function<void(PageNumber, const uint8_t*)>& each) const;

  const std::vector<bool>& present() const { return present_; }
  size_t pages() const { return image_.pages(); }
  Image::Held held() const { return image_.held(); }
  uint64_t newest() const { return image_.newestEpoch(); }

 private:
  PageSource& guest() const;
  void scan();
  void copy();

  std::shared_ptr<ChunkPool> pool_ = std::make_shared<ChunkPool>();
  Image image_;
  OpenLayer open_;
  PageSource* source_ = nullptr;
  std::vector<bool> present_;
  std::vector<bool> pending_;  // written and not yet copied: survives a failed copy (I5)
};

}  // namespace virtcft::xen
