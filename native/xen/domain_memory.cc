#include "domain_memory.h"

#include <algorithm>
#include <chrono>

#include "../src/section/section.h"
#include "../src/section/sha256.h"
#include "failures.h"
#include "limits.h"

namespace virtcft::xen {

namespace {
using Clock = std::chrono::steady_clock;
int64_t microsecondsSince(Clock::time_point start) { return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count(); }
}  // namespace

DomainMemory::DomainMemory(size_t pages) : image_(pages), open_(pages, pool_), present_(pages), pending_(pages) { pool_->warm(); }

PageSource& DomainMemory::guest() const {
  if (!source_) throw Failure(virtcft::code::kState, "no domain is followed: attach or restore one first");
  return *source_;
}

void DomainMemory::follow(PageSource& source, std::optional<uint64_t> known) {
  if (known && *known != image_.newestEpoch()) throw Failure(virtcft::code::kEpoch, "the newest content is of epoch " + std::to_string(image_.newestEpoch()));
  open_.drop();
  source_ = &source;
  source.present(present_);
  // What is zero in the image and does not exist in the guest needs no copy; all that exists does, unless it is known.
  std::fill(pending_.begin(), pending_.end(), false);
  if (!known) pending_ = present_;
}

void DomainMemory::scan() {
  guest().takeWritten([this](PageNumber page) { pending_[page] = true; });
}

void DomainMemory::copy() {
  std::vector<PageNumber> pages;
  for (size_t page = 0; page < pending_.size(); page++) {
    if (pending_[page]) pages.push_back(static_cast<PageNumber>(page));
  }
  guest().read(pages, [this](PageNumber page, const uint8_t* bytes) {
    // What is Xen's own at a frame (the shared information page) can be read and is no page of the guest's: a domain that is built has a hole there.
    open_.put(page, bytes && present_[page] ? bytes : kZeroPage);
    pending_[page] = false;
  });
}

CopiedPages DomainMemory::precopy() {
  const auto start = Clock::now();
  scan();
  CopiedPages copied{static_cast<size_t>(std::count(pending_.begin(), pending_.end(), true)), microsecondsSince(start), 0};
  const auto scanned = Clock::now();
  copy();
  copied.copy_us = microsecondsSince(scanned);
  return copied;
}

CopiedPages DomainMemory::capture(uint64_t epoch) {
  if (epoch <= image_.newestEpoch()) {
    throw Failure(virtcft::code::kEpoch, "cannot capture epoch " + std::to_string(epoch) + ": epoch " + std::to_string(image_.newestEpoch()) + " is captured already");
  }
  const auto start = Clock::now();
  scan();
  // The log tells of writes, not of pages that came or went.
  std::vector<bool> now(present_.size());
  guest().present(now);
  for (size_t page = 0; page < now.size(); page++) {
    if (now[page] != present_[page]) pending_[page] = true;
  }
  present_ = std::move(now);
  for (const PageNumber page : guest().foreign()) pending_[page] = true;
  CopiedPages copied{static_cast<size_t>(std::count(pending_.begin(), pending_.end(), true)), microsecondsSince(start), 0};
  const auto scanned = Clock::now();
  copy();
  copied.copy_us = microsecondsSince(scanned);
  image_.push(open_.seal(epoch));
  return copied;
}

Compared DomainMemory::compare(uint64_t epoch) {
  const auto reading = image_.reading();
  const View view = image_.at(epoch);
  std::vector<bool> skip(pages()), exists(pages());
  guest().present(exists);
  for (const PageNumber page : guest().foreign()) skip[page] = true;
  Compared compared{0, std::nullopt};
  std::vector<PageNumber> batch;
  const auto flush = [&] {
    guest().read(batch, [&](PageNumber page, const uint8_t* bytes) {
      const uint8_t* held = view.mayHold(page) ? view.content(page) : kZeroPage;
      if (!samePage(bytes && exists[page] ? bytes : kZeroPage, held) && compared.differing++ == 0) compared.first = page;
    });
    batch.clear();
  };
  for (size_t page = 0; page < pages(); page++) {
    if (skip[page]) continue;
    batch.push_back(static_cast<PageNumber>(page));
    if (batch.size() == limits::kBatchPages) flush();
  }
  flush();
  return compared;
}

EncodedPages DomainMemory::encode(std::optional<uint64_t> parent, uint64_t epoch) const {
  const auto reading = image_.reading();
  const View now = image_.at(epoch);
  SectionWriter writer(pages(), !parent);
  if (!parent) {
    for (size_t i = 0; i < pages(); i++) {
      const auto page = static_cast<PageNumber>(i);
      if (!now.mayHold(page)) continue;
      const uint8_t* content = now.content(page);
      if (!isZeroPage(content)) writer.addRaw(page, content);
    }
  } else {
    if (*parent > epoch) throw Failure(virtcft::code::kEpoch, "the parent " + std::to_string(*parent) + " is newer than epoch " + std::to_string(epoch));
    const View before = image_.at(*parent);
    std::vector<PageNumber> written;
    for (size_t i = before.layers().size(); i < now.layers().size(); i++) {
      for (const auto& entry : now.layers()[i]->entries()) written.push_back(entry.page);
    }
    std::sort(written.begin(), written.end());
    written.erase(std::unique(written.begin(), written.end()), written.end());
    for (const PageNumber page : written) writer.add(page, now.content(page), before.content(page));
  }
  const size_t count = writer.counts().pages();
  return {writer.finish(), count};
}

std::string DomainMemory::digest(uint64_t epoch) const {
  Sha256 hash;
  each(epoch, [&hash](PageNumber, const uint8_t* bytes) { hash.update(bytes, kPageBytes); });
  return hash.finish();
}

void DomainMemory::each(uint64_t epoch, const std::function<void(PageNumber, const uint8_t*)>& each) const {
  const auto reading = image_.reading();
  const View view = image_.at(epoch);
  if (!image_.complete()) throw Failure(virtcft::code::kState, "the image is not complete: supply all of it, then end the fill");
  for (size_t i = 0; i < pages(); i++) {
    const auto page = static_cast<PageNumber>(i);
    each(page, view.mayHold(page) ? view.content(page) : kZeroPage);
  }
}

void DomainMemory::rollback(uint64_t epoch) {
  image_.at(epoch);  // EEPOCH before anything is forgotten
  source_ = nullptr;
  open_.drop();
  image_.dropAfter(epoch);
}

void DomainMemory::beginFill(uint64_t epoch) {
  source_ = nullptr;
  open_.drop();
  image_.beginIncomplete(epoch);
}

size_t DomainMemory::supply(std::span<const uint8_t> bytes) {
  const SectionReader section(bytes);
  if (section.memoryPages() != pages()) {
    throw Failure(virtcft::code::kBadSection, "page section refused: it is of a memory of " + std::to_string(section.memoryPages()) + " pages, the guest has " + std::to_string(pages()));
  }
  if (section.counts().xored > 0) throw Failure(virtcft::code::kBadSection, "page section refused: a fill takes raw and zero pages only");
  section.check();
  size_t supplied = 0;
  section.each([&](PageNumber page, PageKind, const uint8_t* content) { supplied += image_.supply(page, content); });
  return supplied;
}

}  // namespace virtcft::xen
