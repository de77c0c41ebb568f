#include "tracker.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <array>

#include "failure.h"
#include "kernel_abi.h"

namespace virtcft {

const char* nameOf(TrackerKind kind) {
  switch (kind) {
    case TrackerKind::kPagemapScan: return "pagemap-scan";
    case TrackerKind::kSoftDirty: return "soft-dirty";
    case TrackerKind::kCompare: return "compare";
  }
  return "compare";
}

namespace {

constexpr size_t kRegions = 1024;  // per call; a scan of scattered pages takes several

Descriptor openPagemap(const Process& process) {
  Descriptor pagemap(::open(process.path("pagemap").c_str(), O_RDONLY | O_CLOEXEC));
  if (!pagemap) failWith(code::kNoTracker, "open the page map of process " + std::to_string(process.pid()));
  return pagemap;
}

/** Appends pages of `range` of category `mask`, numbered from `origin`. On an error what was appended before it stays: those pages are protected again already. */
void scanPages(int pagemap, Range range, uint64_t mask, uint64_t flags, std::vector<PageNumber>& pages, uint64_t origin) {
  std::array<abi::PageRegion, kRegions> regions;
  for (uint64_t at = range.start; at < range.end;) {
    abi::PagemapScan scan{};
    scan.size = sizeof scan;
    scan.flags = flags;
    scan.start = at;
    scan.end = range.end;
    scan.vec = reinterpret_cast<uint64_t>(regions.data());
    scan.vec_len = regions.size();
    scan.category_mask = mask;
    scan.return_mask = mask;
    const int found = ::ioctl(pagemap, abi::kPagemapScan, &scan);
    if (found < 0) {
      if (errno == EINTR) continue;
      failWith(errno == ESRCH ? code::kProcess : code::kNoTracker, "PAGEMAP_SCAN");
    }
    for (int i = 0; i < found; i++) {
      const auto& region = regions[static_cast<size_t>(i)];
      for (uint64_t page = region.start; page < region.end; page += kPageBytes) {
        pages.push_back(static_cast<PageNumber>((page - origin) / kPageBytes));
      }
    }
    if (scan.walk_end <= at) throw Failure(code::kNoTracker, "PAGEMAP_SCAN makes no progress");
    at = scan.walk_end;
  }
}

class PagemapScanTracker : public Tracker {
 public:
  PagemapScanTracker(const Process& process, std::shared_ptr<Userfault> userfault)
      : pagemap_(openPagemap(process)), userfault_(std::move(userfault)) {
    userfault_->protect();
  }

  void scan(std::vector<PageNumber>& pages) override {
    scanWithin(userfault_->range(), pages);
  }
  void scanRange(PageNumber first, size_t count, std::vector<PageNumber>& pages) override {
    const uint64_t start = userfault_->range().start + uint64_t{first} * kPageBytes;
    scanWithin({start, start + uint64_t{count} * kPageBytes}, pages);
  }
  bool exactWhileRunning() const override { return true; }

 private:
  void scanWithin(Range range, std::vector<PageNumber>& pages) {
    scanPages(pagemap_.get(), range, abi::kPageWritten, abi::kScanWpMatching | abi::kScanCheckWpAsync, pages, userfault_->range().start);
    // The page map of a process that has exited is empty, not an error.
    if (!userfault_->alive()) throw Failure(code::kProcess, "the hypervisor process has exited");
  }

  Descriptor pagemap_;
  std::shared_ptr<Userfault> userfault_;
};

class SoftDirtyTracker : public Tracker {
 public:
  SoftDirtyTracker(const Process& process, Range range) : pagemap_(openPagemap(process)), range_(range), entries_(range.bytes() / kPageBytes) {
    clear_.reset(::open(process.path("clear_refs").c_str(), O_WRONLY | O_CLOEXEC));
    if (!clear_) failWith(code::kNoTracker, "open clear_refs of process " + std::to_string(process.pid()));
    clear();
  }

  void scan(std::vector<PageNumber>& pages) override {
    const size_t bytes = entries_.size() * sizeof(uint64_t);
    for (size_t at = 0; at < bytes;) {
      const ssize_t got = ::pread(pagemap_.get(), reinterpret_cast<uint8_t*>(entries_.data()) + at, bytes - at,
                                  static_cast<off_t>(range_.start / kPageBytes * sizeof(uint64_t) + at));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) throw Failure(code::kProcess, "the hypervisor process has exited");
      at += static_cast<size_t>(got);
    }
    const size_t before = pages.size();
    for (size_t page = 0; page < entries_.size(); page++) {
      if (entries_[page] >> kSoftDirtyBit & 1) pages.push_back(static_cast<PageNumber>(page));
    }
    if (pages.size() != before) clear();
  }
  void scanRange(PageNumber, size_t, std::vector<PageNumber>&) override { throw Failure(code::kState, "soft-dirty has no look at a part of the memory"); }
  bool exactWhileRunning() const override { return false; }

  static constexpr int kSoftDirtyBit = 55;

 private:
  void clear() {
    if (::pwrite(clear_.get(), "4", 1, 0) != 1) failWith(errno == ESRCH ? code::kProcess : code::kNoTracker, "clear soft-dirty bits");
  }
  Descriptor pagemap_;
  Descriptor clear_;
  Range range_;
  std::vector<uint64_t> entries_;
};

/** A few pages of shared memory of our own, to try things on. */
class ProbeMemory {
 public:
  ProbeMemory() : fd_(::memfd_create("virtcft-probe", MFD_CLOEXEC)) {
    if (!fd_ || ::ftruncate(fd_.get(), kBytes) != 0) failWith(code::kIo, "make memory for a probe");
    void* map = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (map == MAP_FAILED) failWith(code::kIo, "map memory for a probe");
    map_ = static_cast<volatile uint8_t*>(map);
  }
  ~ProbeMemory() { ::munmap(const_cast<uint8_t*>(map_), kBytes); }
  ProbeMemory(const ProbeMemory&) = delete;
  ProbeMemory& operator=(const ProbeMemory&) = delete;
  void write(size_t page) { map_[page * kPageBytes] = 1; }
  Range range() const {
    const auto start = reinterpret_cast<uint64_t>(map_);
    return {start, start + kBytes};
  }

 private:
  static constexpr size_t kBytes = 4 * kPageBytes;
  Descriptor fd_;
  volatile uint8_t* map_ = nullptr;
};

void probePagemapScan(const Process& self) {
  ProbeMemory memory;
  memory.write(0);
  auto userfault = std::make_shared<Userfault>(Userfault::own(memory.range(), false));
  const auto tracker = trackByPagemapScan(self, userfault);
  memory.write(2);
  std::vector<PageNumber> pages;
  tracker->scan(pages);
  if (pages != std::vector<PageNumber>{2}) throw Failure(code::kNoTracker, "PAGEMAP_SCAN does not report exactly the written page");
}

void probeLazyFill() {
  ProbeMemory memory;
  const Userfault userfault = Userfault::own(memory.range(), true);
  userfault.protect();
  if (const auto copied = userfault.copy(kPageBytes, kZeroPage, kPageBytes); copied.error != 0) {
    failWith(code::kNoTracker, "fill a missing page", copied.error);
  }
}

/** A page that was just written is soft-dirty, unless the kernel does not know the word. */
void probeSoftDirty(const Process& self) {
  ProbeMemory memory;
  memory.write(0);
  const Descriptor pagemap = openPagemap(self);
  uint64_t entry = 0;
  if (::pread(pagemap.get(), &entry, sizeof entry, static_cast<off_t>(memory.range().start / kPageBytes * sizeof entry)) != sizeof entry) {
    failWith(code::kNoTracker, "read the page map");
  }
  if (!(entry >> SoftDirtyTracker::kSoftDirtyBit & 1)) throw Failure(code::kNoTracker, "the kernel is built without CONFIG_MEM_SOFT_DIRTY");
}

}  // namespace

std::unique_ptr<Tracker> trackByPagemapScan(const Process& process, std::shared_ptr<Userfault> userfault) {
  return std::make_unique<PagemapScanTracker>(process, std::move(userfault));
}

std::unique_ptr<Tracker> trackBySoftDirty(const Process& process, Range range) { return std::make_unique<SoftDirtyTracker>(process, range); }

std::vector<PageNumber> touchedPages(const Process& process, Range range) {
  std::vector<PageNumber> pages;
  scanPages(openPagemap(process).get(), range, abi::kPagePresent, 0, pages, range.start);
  return pages;
}

TrackerProbe probeTracker() {
  TrackerProbe probe;
  const Process self(::getpid());
  const auto attempt = [&probe](const char* what, auto run) {
    try {
      run();
      return true;
    } catch (const Failure& failure) {
      probe.reasons.push_back(std::string(what) + ": " + failure.what());
      return false;
    }
  };
  probe.pagemapScan = attempt("pagemap-scan", [&] { probePagemapScan(self); });
  probe.lazyFill = probe.pagemapScan && attempt("lazy fill", probeLazyFill);
  probe.softDirty = attempt("soft-dirty", [&] { probeSoftDirty(self); });
  probe.best = probe.pagemapScan ? TrackerKind::kPagemapScan : probe.softDirty ? TrackerKind::kSoftDirty : TrackerKind::kCompare;
  return probe;
}

}  // namespace virtcft
