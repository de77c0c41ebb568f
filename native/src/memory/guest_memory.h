// One VM's memory as its agent holds it: RAM file, image, tracker, fill.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "../section/section.h"
#include "fill.h"
#include "image.h"
#include "process.h"
#include "ram.h"
#include "tracker.h"

namespace virtcft {

struct Captured {
  size_t pages;
  int64_t scan_us;
  int64_t copy_us;
};
struct Encoded {
  std::vector<uint8_t> section;
  SectionCounts counts;
  std::vector<SegmentName> sources;  // that it refers to
  int64_t encode_us;
};
/** A piece of a memory that is copied while the guest runs (R20). */
struct Seeded {
  size_t pages;
  std::vector<uint8_t> content;  // of the whole piece; empty where it is all zero, or too little was written
};
struct RolledBack {
  size_t pages;
  bool scanned;
};
struct Verified {
  size_t differing;
  std::optional<PageNumber> first;
};

/**
 * Two callers may run at the same time: one for what the guest waits for (attach, detach, precopy, capture, verify, rollback), one for the
 * image (encode, fold, digest, supply). So a capture never waits for an encoding. Meaning of each call: native/index.d.ts.
 */
class GuestMemory {
 public:
  GuestMemory(const std::string& ramPath, size_t bytes);
  ~GuestMemory();
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

  void attach(int pid, TrackerKind kind, bool lazy);
  void detach();
  Captured precopy();
  Captured capture(uint64_t epoch);
  uint64_t beginSeed();
  Seeded seed(PageNumber first, size_t count, size_t fewest);
  RolledBack rollback(uint64_t epoch);
  Verified verify(uint64_t epoch);

  Encoded encode(std::optional<uint64_t> parent, uint64_t epoch, const PageCatalog* catalog = nullptr);
  size_t fold(uint64_t epoch);
  std::string digest(uint64_t epoch);
  size_t supply(std::span<const uint8_t> section);
  size_t supplyRestAsZero();
  /** Off the pause: makes room for the next capture. */
  void warm() { pool_->warm(); }

  void beginFill(uint64_t epoch);
  void onWanted(Fill::Wanted wanted);
  FillStats fillStats() const;
  struct Stats {
    Image::Held held;
    size_t open_pages;
  };
  Stats stats() const;

 private:
  void arm(Process process, Range range, TrackerKind kind, bool lazy);
  void requireAttached() const;
  /** Appends to pending_ what was written since the last scan. */
  void scan();
  void copyPending();
  /** Of pages [first, first + count) those whose newest content the base may lack, rising. Seeding only. */
  std::vector<PageNumber> unseeded(PageNumber first, size_t count);
  Captured scanAndCopy();
  /** Calls `differs` for every page of the RAM that is not as `expected` says, touching no hole. Pages not yet filled are as they should be. */
  void eachDifference(const std::function<const uint8_t*(PageNumber)>& expected, const View& view, const std::function<void(PageNumber)>& differs) const;
  /** Pages that an unattached process may have changed are pending, or punched out where the fill is to bring them again. */
  void settleUntracked(const Process& process, Range range, TrackerKind kind, bool lazy);
  /** `touched`: only these (rising) may differ from what the file should hold; none: any page may. */
  void settleFilled(const View& view, const std::optional<std::vector<PageNumber>>& touched);
  void endFill();
  bool filling() const { return filling_.load(std::memory_order_acquire); }

  std::shared_ptr<ChunkPool> pool_ = std::make_shared<ChunkPool>();
  GuestRam ram_;
  Image image_;

  mutable std::mutex guest_;  // everything from here to `fill_`
  OpenLayer open_;
  std::vector<PageNumber> pending_;  // known to be written, not yet copied: survives a failed capture (I5)
  std::vector<bool> unseeded_;        // by page, while a base is seeded: known to be written and not in the base; empty else
  std::optional<Process> process_;
  TrackerKind kind_ = TrackerKind::kCompare;
  std::shared_ptr<Userfault> userfault_;
  std::unique_ptr<Tracker> tracker_;
  bool ramKnown_ = false;  // the RAM file equals the newest content, except what a process did since
  std::atomic<size_t> openPages_{0};

  std::atomic<bool> filling_{false};
  PageBits filled_;
  mutable std::mutex fillMutex_;  // fill_, wanted_, past counts
  std::unique_ptr<Fill> fill_;
  Fill::Wanted wanted_;
  size_t pastFaults_ = 0;
  size_t pastPrefetched_ = 0;
};

}  // namespace virtcft
