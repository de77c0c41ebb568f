// Committed pages by their content, so that a section names one instead of holding it again. Format: docs/formats/page-section.md.
#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <new>
#include <optional>
#include <shared_mutex>
#include <span>
#include <vector>

#include "section.h"

namespace virtcft {

PageHash hashOf(const uint8_t* page);

/**
 * Raw pages of stored segments that no codec shortens. They are held whole: that a page is the same is seen by comparing all of it, which costs a fraction of
 * what a hash of it does; its hash, by which readers see that they have found the right one, is made when it is added. Bounded: of pages that share a set the oldest goes first. One adds, many look up.
 */
class PageCatalog {
 public:
  struct Found {
    uint64_t source;  // counts the segments that were added
    PageNumber page;
    PageHash hash;
  };

  /** Adds the pages of a segment's section that are worth a reference; returns how many. EBADSECTION for a section that is none. */
  size_t add(const SegmentName& segment, std::span<const uint8_t> section);
  /** No page of the `count` segments that were added first is found any more. */
  void drop(size_t count);
  /** Gives the room back, too. */
  void clear();
  /** Segments of which pages can be found. */
  size_t sources() const;

  /** While it is held nothing is added or dropped; all below is asked only then. */
  std::shared_lock<std::shared_mutex> reading() const { return std::shared_lock(mutex_); }
  /** Of a few words of a page: whether a look at all of it can pay. Memory is far: who asks step by step, with other work between, waits for none of them. */
  static uint64_t fingerprintOf(const uint8_t* content);
  void expect(uint64_t fingerprint) const { __builtin_prefetch(&sets_[setOf(fingerprint)]); }
  /** Where a page of this fingerprint is, and soon in the cache. */
  std::optional<size_t> candidate(uint64_t fingerprint) const;
  /** The page there, if it has this content. */
  std::optional<Found> find(size_t candidate, const uint8_t* content) const;
  const SegmentName& nameOf(uint64_t source) const { return names_[source - oldest_]; }

 private:
  static constexpr size_t kWays = 8;     // their fingerprints are one line of the cache
  static constexpr size_t kSets = 2048;  // 16,384 pages, 64 MiB: some minutes of what a host's VMs write anew
  struct alignas(64) Set {
    std::array<uint64_t, kWays> fingerprints{};
  };
  using Entry = Found;
  static constexpr size_t kContentBytes = kSets * kWays * kPageBytes, kHugeBytes = 2 << 20;
  struct Free {
    void operator()(uint8_t* pages) const { ::operator delete[](pages, std::align_val_t{kHugeBytes}); }
  };
  static size_t setOf(uint64_t fingerprint) { return fingerprint >> (64 - 11); }
  static_assert(kSets == size_t{1} << 11);
  uint8_t* contentOf(size_t entry) const { return contents_.get() + entry * kPageBytes; }
  void put(uint64_t fingerprint, const uint8_t* content, const Entry& entry);

  mutable std::shared_mutex mutex_;
  std::vector<Set> sets_{kSets};
  std::vector<Entry> entries_{kSets * kWays};
  std::unique_ptr<uint8_t[], Free> contents_;  // of the entries
  std::deque<SegmentName> names_;
  uint64_t oldest_ = 1;  // of names_; entries of an older one are void, as is 0
};

}  // namespace virtcft
