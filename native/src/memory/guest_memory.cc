#include "guest_memory.h"

#include <sys/sysinfo.h>

#include <algorithm>
#include <chrono>

#include "../section/section.h"
#include "../section/sha256.h"
#include "failure.h"

namespace virtcft {

namespace {

using Clock = std::chrono::steady_clock;
int64_t microsecondsSince(Clock::time_point start) { return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count(); }

/** A process's page table does not remember pages that were swapped out of shared memory. */
bool swapInUse() {
  struct sysinfo info {};
  return ::sysinfo(&info) != 0 || info.totalswap != 0;
}

}  // namespace

GuestMemory::GuestMemory(const std::string& ramPath, size_t bytes)
    : ram_(ramPath, bytes), image_(ram_.pages()), open_(ram_.pages(), pool_), filled_(ram_.pages()) {
  pending_.reserve(ram_.pages());
}

GuestMemory::~GuestMemory() { endFill(); }

void GuestMemory::endFill() {
  std::unique_ptr<Fill> ending;
  {
    std::lock_guard lock(fillMutex_);
    if (!fill_) return;
    ending = std::move(fill_);
  }
  const size_t faults = ending->faults();
  const size_t prefetched = ending->prefetched();
  ending.reset();  // joins its thread, which may be calling `wanted`
  std::lock_guard lock(fillMutex_);
  pastFaults_ += faults;
  pastPrefetched_ += prefetched;
}

void GuestMemory::requireAttached() const {
  if (!process_) throw Failure(code::kState, "not attached to a process: attach first");
  std::lock_guard lock(fillMutex_);
  if (!fill_) return;
  const std::string failure = fill_->failure();
  if (!failure.empty()) throw Failure(code::kProcess, "the lazy fill has ended (" + failure + "): detach and load the VM again");
}

void GuestMemory::attach(int pid, TrackerKind kind, bool lazy) {
  std::lock_guard lock(guest_);
  if (process_) throw Failure(code::kState, "already attached to process " + std::to_string(process_->pid()) + ": detach first");
  if (lazy && kind != TrackerKind::kPagemapScan) throw Failure(code::kState, "a lazy fill needs the tracker `pagemap-scan`");
  if (lazy && image_.complete() && !filling()) throw Failure(code::kState, "nothing to fill: call beginFill first");
  if (!lazy && filling()) throw Failure(code::kState, "the fill is not done, pages are missing: attach lazily");
  Process process(pid);
  const Range range = process.findMapping(ram_);
  try {
    arm(std::move(process), range, kind, lazy);
  } catch (...) {
    endFill();
    tracker_.reset();
    userfault_.reset();
    process_.reset();
    pending_.clear();
    throw;
  }
}

void GuestMemory::arm(Process process, Range range, TrackerKind kind, bool lazy) {
  if (kind == TrackerKind::kPagemapScan) userfault_ = std::make_shared<Userfault>(process, range, lazy);
  if (lazy) settleUntracked(process, range, kind, true);
  if (kind == TrackerKind::kPagemapScan) tracker_ = trackByPagemapScan(process, userfault_);
  if (kind == TrackerKind::kSoftDirty) tracker_ = trackBySoftDirty(process, range);
  // From here on a write is seen by the tracker; what was written before it is found by looking.
  if (!lazy) settleUntracked(process, range, kind, false);
  kind_ = kind;
  ramKnown_ = false;
  if (lazy) {
    std::lock_guard lock(fillMutex_);
    fill_ = std::make_unique<Fill>(
        userfault_, image_, image_.newest(), filled_,
        [this](const std::vector<PageNumber>& pages) {
          Fill::Wanted wanted;
          {
            std::lock_guard inner(fillMutex_);
            wanted = wanted_;
          }
          if (wanted) wanted(pages);
        },
        [this] { filling_.store(false, std::memory_order_release); });
  }
  process_ = std::move(process);
  pool_->warm();
}

void GuestMemory::settleUntracked(const Process& process, Range range, TrackerKind kind, bool lazy) {
  const auto reading = image_.reading();
  const View view = image_.newest();
  const bool onlyTouched = ramKnown_ && kind == TrackerKind::kPagemapScan && !swapInUse();
  if (lazy) return settleFilled(view, onlyTouched ? std::optional(touchedPages(process, range)) : std::nullopt);
  const auto content = [&view](PageNumber page) { return view.content(page); };
  if (onlyTouched) {
    for (const PageNumber page : touchedPages(process, range)) {
      if (!samePage(ram_.page(page), content(page))) pending_.push_back(page);
    }
  } else if (kind != TrackerKind::kCompare) {
    eachDifference(content, view, [this](PageNumber page) { pending_.push_back(page); });
  }
}

/**
 * What the file holds and is not the cut's content (the process's own start wrote it) is punched out, the fill brings it. Whether a page is there
 * is asked once for each page: the source goes on supplying meanwhile.
 */
void GuestMemory::settleFilled(const View& view, const std::optional<std::vector<PageNumber>>& touched) {
  const auto trusted = [&](PageNumber page) { return touched && !std::binary_search(touched->begin(), touched->end(), page); };
  filled_.clearAll();
  std::vector<std::pair<PageNumber, size_t>> runs;
  ram_.eachData([&runs](PageNumber first, size_t count) { runs.emplace_back(first, count); });
  for (const auto& [first, count] : runs) {
    for (PageNumber page = first; page < first + count; page++) {
      if (image_.present(page) && (trusted(page) || samePage(ram_.page(page), view.content(page)))) {
        filled_.set(page);
      } else {
        ram_.punch(page, 1);
      }
    }
  }
}

void GuestMemory::detach() {
  std::lock_guard lock(guest_);
  if (!process_) return;
  endFill();
  // With pages missing the range stays registered, so that the guest blocks on them instead of reading zero.
  if (userfault_ && !filling()) userfault_->unregister();
  tracker_.reset();
  userfault_.reset();
  process_.reset();
  pending_.clear();
  unseeded_ = {};
  ramKnown_ = false;
}

void GuestMemory::eachDifference(const std::function<const uint8_t*(PageNumber)>& expected, const View& view,
                                 const std::function<void(PageNumber)>& differs) const {
  PageNumber next = 0;
  const auto holesUpTo = [&](size_t end) {
    if (!filling()) {
      for (; next < end; next++) {
        const uint8_t* content = view.mayHold(next) || open_.find(next) ? expected(next) : kZeroPage;
        // A fill that ended since the file was looked at has put the page there.
        if (!isZeroPage(content) && (ram_.isHole(next) || !samePage(ram_.page(next), content))) differs(next);
      }
    }
    next = static_cast<PageNumber>(end);
  };
  ram_.eachData([&](PageNumber first, size_t count) {
    holesUpTo(first);
    for (; next < first + count; next++) {
      if (image_.present(next) && !samePage(ram_.page(next), expected(next))) differs(next);
    }
  });
  holesUpTo(ram_.pages());
}

uint64_t GuestMemory::beginSeed() {
  std::lock_guard lock(guest_);
  requireAttached();
  if (filling()) throw Failure(code::kState, "the fill is not done, pages are missing: seed when it is");
  if (image_.held().layers > 0) throw Failure(code::kState, "captured already: what follows is a change to that, no base is needed");
  if (tracker_ && !tracker_->exactWhileRunning()) tracker_->scan(pending_);
  if (unseeded_.empty()) unseeded_.resize(ram_.pages());
  for (const auto& entry : open_.entries()) unseeded_[entry.page] = true;
  for (const PageNumber page : pending_) unseeded_[page] = true;
  open_.drop();
  openPages_ = 0;
  pending_.clear();
  return image_.baseEpoch();
}

std::vector<PageNumber> GuestMemory::unseeded(PageNumber first, size_t count) {
  std::vector<PageNumber> pages;
  if (!tracker_) {
    if (process_->exited()) throw Failure(code::kProcess, "the hypervisor process has exited");
    const auto reading = image_.reading();
    const View view = image_.newest();
    ram_.eachDataIn(first, count, [&](PageNumber from, size_t run) {
      for (PageNumber page = from; page < from + run; page++) {
        if (!samePage(ram_.page(page), view.content(page))) pages.push_back(page);
      }
    });
    return pages;
  }
  if (tracker_->exactWhileRunning()) {
    std::vector<PageNumber> written;
    const auto remember = [&] { for (const PageNumber page : written) unseeded_[page] = true; };
    try {
      tracker_->scanRange(first, count, written);
    } catch (...) {
      remember();  // protected again already: they would be reported no more (I5)
      throw;
    }
    remember();
  }
  for (PageNumber page = first; page < first + count; page++) {
    if (unseeded_[page]) pages.push_back(page);
  }
  return pages;
}

Seeded GuestMemory::seed(PageNumber first, size_t count, size_t fewest) {
  std::lock_guard lock(guest_);
  requireAttached();
  if (unseeded_.empty()) throw Failure(code::kState, "no base is being seeded: call beginSeed first");
  if (image_.held().layers > 0) throw Failure(code::kState, "captured already: the base may not change under its layers");
  if (count == 0 || size_t{first} + count > ram_.pages()) throw Failure(code::kInvalid, "pages " + std::to_string(first) + "+" + std::to_string(count) + " are not of this memory");
  const std::vector<PageNumber> pages = unseeded(first, count);
  if (pages.size() < fewest) return {pages.size(), {}};
  // Torn copies do no harm: whoever writes meanwhile is reported by a later scan.
  image_.seed(pages, [this](PageNumber page) { return ram_.page(page); });
  for (const PageNumber page : pages) unseeded_[page] = false;
  Seeded seeded{pages.size(), {}};
  if (!image_.holdsAny(first, count)) return seeded;
  const View view = image_.newest();
  seeded.content.assign(view.base() + size_t{first} * kPageBytes, view.base() + (size_t{first} + count) * kPageBytes);
  return seeded;
}

void GuestMemory::scan() {
  if (!unseeded_.empty()) {
    for (size_t page = 0; page < unseeded_.size(); page++) {
      if (unseeded_[page]) pending_.push_back(static_cast<PageNumber>(page));
    }
    unseeded_ = {};
  }
  if (tracker_) {
    tracker_->scan(pending_);
    return;
  }
  if (process_->exited()) throw Failure(code::kProcess, "the hypervisor process has exited");
  const auto reading = image_.reading();
  const View view = image_.newest();
  const auto top = [&](PageNumber page) {
    const uint8_t* open = open_.find(page);
    return open ? open : view.content(page);
  };
  eachDifference(top, view, [this](PageNumber page) { pending_.push_back(page); });
}

void GuestMemory::copyPending() {
  const bool filling = this->filling();
  for (const PageNumber page : pending_) {
    if (filling && ram_.isHole(page)) continue;  // never written: reading it would allocate it
    open_.put(page, ram_.page(page));
  }
  pending_.clear();
}

Captured GuestMemory::scanAndCopy() {
  const auto start = Clock::now();
  scan();
  Captured captured{pending_.size(), microsecondsSince(start), 0};
  const auto scanned = Clock::now();
  copyPending();
  captured.copy_us = microsecondsSince(scanned);
  openPages_ = open_.size();
  return captured;
}

Captured GuestMemory::precopy() {
  std::lock_guard lock(guest_);
  requireAttached();
  if (tracker_ && !tracker_->exactWhileRunning()) return {0, 0, 0};
  return scanAndCopy();
}

Captured GuestMemory::capture(uint64_t epoch) {
  std::lock_guard lock(guest_);
  requireAttached();
  if (epoch <= image_.newestEpoch()) {
    throw Failure(code::kEpoch, "cannot capture epoch " + std::to_string(epoch) + ": epoch " + std::to_string(image_.newestEpoch()) + " is captured already");
  }
  const Captured captured = scanAndCopy();
  image_.push(open_.seal(epoch));
  openPages_ = 0;
  return captured;
}

Verified GuestMemory::verify(uint64_t epoch) {
  std::lock_guard lock(guest_);
  const auto reading = image_.reading();
  const View view = image_.at(epoch);
  Verified verified{0, std::nullopt};
  eachDifference([&view](PageNumber page) { return view.content(page); }, view, [&verified](PageNumber page) {
    if (verified.differing++ == 0) verified.first = page;
  });
  return verified;
}

RolledBack GuestMemory::rollback(uint64_t epoch) {
  std::lock_guard lock(guest_);
  const auto reading = image_.reading();
  const View view = image_.at(epoch);
  // Every page was supplied and no process waits for any: what the RAM file lacks is written here, the way to load without userfaultfd.
  if (!process_ && filling() && image_.complete()) filling_.store(false, std::memory_order_release);
  std::vector<PageNumber> touched;
  bool scanned = false;
  if (tracker_) {
    try {
      tracker_->scan(pending_);
      scanned = true;
    } catch (const Failure& failure) {
      if (!failure.is(code::kProcess)) throw;  // it has died: what it wrote last is found by comparing
    }
  }
  if (scanned) {
    touched.swap(pending_);
    for (const auto& entry : open_.entries()) touched.push_back(entry.page);
    const View newest = image_.newest();
    for (const auto& layer : newest.layers()) {
      if (layer->epoch() <= epoch) continue;
      for (const auto& entry : layer->entries()) touched.push_back(entry.page);
    }
    std::sort(touched.begin(), touched.end());
    touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
    const bool filling = this->filling();
    std::erase_if(touched, [&](PageNumber page) { return (filling && ram_.isHole(page)) || samePage(ram_.page(page), view.content(page)); });
  } else {
    eachDifference([&view](PageNumber page) { return view.content(page); }, view, [&touched](PageNumber page) { touched.push_back(page); });
  }
  for (const PageNumber page : touched) std::memcpy(ram_.page(page), view.content(page), kPageBytes);
  pending_.clear();
  open_.drop();
  openPages_ = 0;
  image_.dropAfter(epoch);
  ramKnown_ = true;
  return {touched.size(), scanned};
}

Encoded GuestMemory::encode(std::optional<uint64_t> parent, uint64_t epoch, const PageCatalog* catalog) {
  const auto start = Clock::now();
  const auto reading = image_.reading();
  const View now = image_.at(epoch);
  const bool complete = image_.complete();
  SectionWriter writer(image_.pages(), !parent, catalog);
  if (!parent) {
    if (!complete) throw Failure(code::kState, "the base is not complete: a full section needs every page, wait until the fill is done");
    for (size_t i = 0; i < image_.pages(); i++) {
      const auto page = static_cast<PageNumber>(i);
      if (!now.mayHold(page)) continue;
      const uint8_t* content = now.content(page);
      if (!isZeroPage(content)) writer.addRaw(page, content);
    }
  } else {
    if (*parent > epoch) throw Failure(code::kEpoch, "the parent " + std::to_string(*parent) + " is newer than epoch " + std::to_string(epoch));
    const View before = image_.at(*parent);
    std::vector<PageNumber> written;
    for (size_t i = before.layers().size(); i < now.layers().size(); i++) {
      for (const auto& entry : now.layers()[i]->entries()) written.push_back(entry.page);
    }
    std::sort(written.begin(), written.end());
    written.erase(std::unique(written.begin(), written.end()), written.end());
    const auto at = [&](size_t i) { return i < written.size() ? Ahead{now.content(written[i]), before.content(written[i])} : Ahead{}; };
    Ahead next = at(0);
    for (size_t i = 0; i < written.size(); i++) {
      const auto [content, old] = next;
      next = at(i + 1);
      if (complete) {
        writer.add(written[i], content, old, next);
      } else if (!samePage(content, old)) {
        writer.add(written[i], content, nullptr);
      }
    }
  }
  std::vector<uint8_t> section = writer.finish();
  return {std::move(section), writer.counts(), writer.sources(), microsecondsSince(start)};
}

size_t GuestMemory::fold(uint64_t epoch) { return image_.fold(epoch); }

std::string GuestMemory::digest(uint64_t epoch) {
  const auto reading = image_.reading();
  const View view = image_.at(epoch);
  if (!image_.complete()) throw Failure(code::kState, "the base is not complete: a digest needs every page, wait until the fill is done");
  Sha256 hash;
  for (size_t page = 0; page < image_.pages(); page++) {
    const auto number = static_cast<PageNumber>(page);
    hash.update(view.mayHold(number) ? view.content(number) : kZeroPage, kPageBytes);
  }
  return hash.finish();
}

void GuestMemory::beginFill(uint64_t epoch) {
  std::lock_guard lock(guest_);
  if (process_) throw Failure(code::kState, "attached to process " + std::to_string(process_->pid()) + ": detach before a new fill begins");
  open_.drop();
  openPages_ = 0;
  pending_.clear();
  unseeded_ = {};
  image_.beginIncomplete(epoch);
  filled_.clearAll();
  filling_.store(true, std::memory_order_release);
  ramKnown_ = false;
}

size_t GuestMemory::supply(std::span<const uint8_t> bytes) {
  const SectionReader section(bytes);
  if (section.memoryPages() != image_.pages()) {
    throw Failure(code::kBadSection, "page section refused: it is of a memory of " + std::to_string(section.memoryPages()) + " pages, the guest has " +
                                         std::to_string(image_.pages()));
  }
  if (section.counts().xored > 0) throw Failure(code::kBadSection, "page section refused: a fill takes raw and zero pages only");
  section.check();
  size_t pages = 0;
  section.each([&](PageNumber page, PageKind, const uint8_t* content) { pages += image_.supply(page, content); });
  std::lock_guard lock(fillMutex_);
  if (fill_) fill_->kick();
  return pages;
}

size_t GuestMemory::supplyRestAsZero() {
  const size_t pages = image_.supplyRestAsZero();
  std::lock_guard lock(fillMutex_);
  if (fill_) fill_->kick();
  return pages;
}

void GuestMemory::onWanted(Fill::Wanted wanted) {
  std::vector<PageNumber> waiting;
  {
    std::lock_guard lock(fillMutex_);
    wanted_ = wanted;
    if (fill_) waiting = fill_->waiting();
  }
  if (wanted && !waiting.empty()) wanted(waiting);
}

FillStats GuestMemory::fillStats() const {
  std::lock_guard lock(fillMutex_);
  FillStats stats;
  stats.faults = pastFaults_ + (fill_ ? fill_->faults() : 0);
  stats.prefetched = pastPrefetched_ + (fill_ ? fill_->prefetched() : 0);
  stats.total = image_.pages();
  stats.present = image_.complete() ? stats.total : image_.presentPages().count();
  stats.done = !filling();
  return stats;
}

GuestMemory::Stats GuestMemory::stats() const { return {image_.held(), openPages_.load()}; }

}  // namespace virtcft
