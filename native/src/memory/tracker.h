// Which pages a running process has written: three ways, by what the kernel offers.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "process.h"
#include "userfault.h"

namespace virtcft {

enum class TrackerKind { kPagemapScan, kSoftDirty, kCompare };
const char* nameOf(TrackerKind kind);

/** Not used for `compare`, which looks at the content and needs nothing of the process. */
class Tracker {
 public:
  virtual ~Tracker() = default;
  /** Appends the pages written since the last scan and starts anew. EPROCESS when the process is gone: then nothing that was appended may be trusted as complete. */
  virtual void scan(std::vector<PageNumber>& pages) = 0;
  /** As `scan`, of pages [first, first + count) only. Only where `exactWhileRunning`. */
  virtual void scanRange(PageNumber first, size_t count, std::vector<PageNumber>& pages) = 0;
  /** False where a write between looking and starting anew would be lost: scan only while the guest is stopped. */
  virtual bool exactWhileRunning() const = 0;
};

std::unique_ptr<Tracker> trackByPagemapScan(const Process& process, std::shared_ptr<Userfault> userfault);
std::unique_ptr<Tracker> trackBySoftDirty(const Process& process, Range range);

/** Pages that are in the process's page table: unless memory was swapped out, no other can have been written by it. Needs PAGEMAP_SCAN. */
std::vector<PageNumber> touchedPages(const Process& process, Range range);

struct TrackerProbe {
  bool pagemapScan = false;
  bool softDirty = false;
  bool lazyFill = false;
  TrackerKind best = TrackerKind::kCompare;
  std::vector<std::string> reasons;
};
TrackerProbe probeTracker();

}  // namespace virtcft
