#include "page_catalog.h"

#include <sys/mman.h>

#include <cstring>
#include <mutex>

#include "page_code.h"
#include "sha256.h"

namespace virtcft {

uint64_t PageCatalog::fingerprintOf(const uint8_t* content) {
  constexpr size_t kSamples = 16, kStride = kPageBytes / kSamples, kFirst = 40;
  uint64_t sum = 0, factor = 0x9e3779b97f4a7c15;
  for (size_t i = 0; i < kSamples; i++, factor += 0xbf58476d1ce4e5b8 * 2) {
    uint64_t word;
    std::memcpy(&word, content + kFirst + i * kStride, sizeof word);
    sum += (word ^ word >> 32) * factor;
  }
  return (sum ^ sum >> 29) * 0x94d049bb133111eb | 1;  // 0 is nobody's
}

PageHash hashOf(const uint8_t* page) {
  Sha256 sha256;
  sha256.update(page, kPageBytes);
  const std::array<uint8_t, 32> digest = sha256.digest();
  PageHash hash;
  std::memcpy(hash.data(), digest.data(), hash.size());
  return hash;
}

size_t PageCatalog::add(const SegmentName& segment, std::span<const uint8_t> bytes) {
  const SectionReader section(bytes);
  section.check();
  const std::unique_lock lock(mutex_);
  pagecode::Difference difference;
  uint8_t steps[pagecode::kMostStepBytes], words[kPageBytes + pagecode::kGroupWords * pagecode::kWordBytes];
  size_t added = 0;
  section.eachStored([&](PageNumber page, PageKind kind, const uint8_t* content) {
    if (kind != PageKind::kRaw) return;
    pagecode::compare(content, nullptr, difference);
    const size_t length = pagecode::encode(difference, steps, words).words;
    if (length < section::kFewestReferredBytes || !pagecode::looksRandom(words, length)) return;
    if (added++ == 0) {
      if (names_.size() == section::kMostSources) {
        names_.pop_front();
        oldest_++;
      }
      names_.push_back(segment);
    }
    put(fingerprintOf(content), content, {oldest_ + names_.size() - 1, page, hashOf(content)});
  });
  return added;
}

void PageCatalog::put(uint64_t fingerprint, const uint8_t* content, const Entry& entry) {
  if (!contents_) {
    contents_.reset(new (std::align_val_t{kHugeBytes}) uint8_t[kContentBytes]);
    ::madvise(contents_.get(), kContentBytes, MADV_HUGEPAGE);  // only a wish: pages of it are read here and there
  }
  const size_t set = setOf(fingerprint), first = set * kWays;
  auto& fingerprints = sets_[set].fingerprints;
  size_t way = 0;
  for (size_t i = 0; i < kWays; i++) {
    if (fingerprints[i] == fingerprint) {
      way = i;
      break;
    }
    if (entries_[first + i].source < entries_[first + way].source) way = i;
  }
  fingerprints[way] = fingerprint;
  entries_[first + way] = entry;
  std::memcpy(contentOf(first + way), content, kPageBytes);
}

void PageCatalog::drop(size_t count) {
  const std::unique_lock lock(mutex_);
  for (; count > 0 && !names_.empty(); count--) {
    names_.pop_front();
    oldest_++;
  }
}

void PageCatalog::clear() {
  const std::unique_lock lock(mutex_);
  oldest_ += names_.size();
  names_.clear();
  contents_.reset();
  sets_.assign(kSets, {});
}

size_t PageCatalog::sources() const {
  const auto lock = reading();
  return names_.size();
}

std::optional<size_t> PageCatalog::candidate(uint64_t fingerprint) const {
  const size_t set = setOf(fingerprint);
  for (size_t way = 0; way < kWays; way++) {
    if (sets_[set].fingerprints[way] != fingerprint) continue;
    const size_t at = set * kWays + way;
    __builtin_prefetch(&entries_[at]);
    for (size_t line = 0; line < kPageBytes; line += 64) __builtin_prefetch(contentOf(at) + line);
    return at;
  }
  return std::nullopt;
}

std::optional<PageCatalog::Found> PageCatalog::find(size_t candidate, const uint8_t* content) const {
  const Entry& entry = entries_[candidate];
  if (entry.source < oldest_ || !samePage(content, contentOf(candidate))) return std::nullopt;
  return entry;
}

}  // namespace virtcft
