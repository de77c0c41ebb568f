// What the agent knows of one VM's disk: the base, the layers on it and the open layer (R1), in files that outlive the process (R3, R23a).
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "../section/section.h"
#include "disk_layer.h"
#include "journal.h"
#include "planes.h"

namespace virtcft {

enum class Answer { kDone, kAbsent, kNotCached, kNoRoom, kFailed };

/**
 * One thread serves the guest (write, zero, absent, read and commit), any reads and works on cuts beside it. A change of places is under one lock,
 * with the write that it belongs to; reading is not: what a read has found in the map may be freed meanwhile, so it looks whether anything was
 * (`frees_`), and reads again.
 */
class DiskImage {
 public:
  /** Makes a disk; `image` empty: all zero. EEXIST, EINVAL, EIO. */
  static std::unique_ptr<DiskImage> create(const std::string& directory, size_t bytes, const std::string& image);
  /** ENODISK, EBADDISK, ESTATE while another process has it. */
  static std::unique_ptr<DiskImage> reopen(const std::string& directory);
  DiskImage(const DiskImage&) = delete;
  DiskImage& operator=(const DiskImage&) = delete;

  size_t blocks() const { return blocks_; }
  size_t bytes() const { return blocks_ * kPageBytes; }

  // The guest's requests; offset and length lie within the disk.
  Answer read(size_t offset, size_t length, uint8_t* to, bool cachedOnly, std::vector<Place>& scratch) const;
  Answer write(size_t offset, size_t length, const uint8_t* from);
  /** `exact`: the ends that are no whole blocks too, else they are left as they are (trim). */
  Answer zero(size_t offset, size_t length, bool exact);
  /** Before any of the above is answered: what it changed outlives this process from then on. EIO. */
  void commit();
  /** Appends the blocks of this range that a fill has not brought. */
  void absent(size_t offset, size_t length, std::vector<BlockNumber>& blocks) const;

  /** The open layer becomes the layer `epoch`; its blocks. */
  size_t seal(uint64_t epoch);
  /** After the pause: makes the next seal quick. */
  void warm();
  size_t fold(uint64_t epoch);
  /** Blocks whose content may have changed. Nobody may be served meanwhile. */
  size_t rollback(uint64_t epoch);
  /** What (parent, epoch] wrote, as sorted extents whose places mean nothing. EEPOCH. */
  std::vector<Extent> writtenIn(uint64_t parent, uint64_t epoch) const;
  /** Content as of `epoch`; false when no block of it holds anything. EEPOCH; ESTATE when a block is absent. */
  bool contentAt(uint64_t epoch, size_t first, size_t count, uint8_t* to, std::vector<Place>& scratch) const;

  void beginFill(uint64_t epoch);
  /** Puts a checked section's blocks into the base where they are absent; how many those were. */
  size_t supply(const SectionReader& section);
  size_t supplyRestAsZero();

  /** Whether `tidy` is due. */
  bool untidy() const { return untidy_.load(std::memory_order_relaxed); }
  /** Rewrites a grown journal and gives room back, or does so `anyway`. Not on the thread that serves. */
  void tidy(bool anyway = false);

  struct Held {
    size_t base_bytes, layer_bytes, layers, open_blocks, present_blocks;
  };
  Held held() const;

 private:
  DiskImage(const std::string& directory, Descriptor lock, size_t blocks);
  void replay();
  void apply(const JournalRecord& record);

  // Under the lock:
  uint64_t newestEpoch() const { return layers_.empty() ? baseEpoch_ : layers_.back()->epoch(); }
  void requireHeld(uint64_t epoch) const;
  /** 0, ENOSPC or EIO. */
  int writeAll(size_t offset, size_t length, const uint8_t* from);
  int writeWhole(size_t first, size_t count, const uint8_t* from);
  int writePart(size_t offset, size_t length, const uint8_t* from);
  int zeroAll(size_t offset, size_t length, bool exact);
  Answer changed(int error);
  bool ownSlot(size_t block) const { return open_.test(block) && inPlane(newest_[block]); }
  /** The open layer's version of these blocks lies there now; it had no slot for them. */
  void map(size_t first, size_t count, Place place);
  void unmapOwn(size_t first, size_t count);
  void zeroWhole(size_t first, size_t count);
  void giveRoomBack();
  /** The layer with the open extents. */
  std::shared_ptr<const DiskLayer> take(uint64_t epoch);
  void addLayer(std::shared_ptr<const DiskLayer> layer);
  void clearSpare();
  /** The slots are marked as used already. */
  void setBase(size_t first, size_t count, Place place);
  void foldExtent(const Extent& extent);
  void removeFolded(uint64_t epoch);
  size_t drop(uint64_t epoch);
  /** Places as of `epoch`. */
  void placesAt(uint64_t epoch, size_t first, size_t count, Place* places) const;
  void writeDown(Journal::Draft& draft, const std::vector<Extent>& extents) const;
  void noteTidiness() { untidy_.store(journal_.grown() || planes_.tooStale(), std::memory_order_relaxed); }

  std::string directory_;
  Descriptor lock_;  // of the directory: one process at a time
  size_t blocks_;
  Planes planes_;
  PlaceMap base_;
  PlaceMap newest_;

  mutable std::mutex baseMutex_;  // taken before `mutex_`: who changes the base, or writes it down
  mutable std::mutex mutex_;      // all that follows, maps and planes
  Journal journal_;
  BlockBits open_;   // blocks of the open layer
  BlockBits spare_;  // becomes `open_` at the next seal
  std::shared_ptr<const DiskLayer> spareDirt_;  // whose blocks are still set in it
  OpenExtents openExtents_;
  std::vector<std::shared_ptr<const DiskLayer>> layers_;  // rising epochs
  uint64_t baseEpoch_ = 0;
  std::atomic<uint64_t> frees_{0};
  std::atomic<bool> uncommitted_{false};
  std::atomic<bool> untidy_{false};
  // Read by anyone:
  std::atomic<size_t> openBlocks_{0};
  std::atomic<size_t> openHeld_{0};  // those with bytes of their own
  std::atomic<size_t> layerCount_{0};
  std::atomic<size_t> layerHeld_{0};
  std::atomic<size_t> baseBlocks_{0};
  std::atomic<size_t> presentBlocks_{0};
};

}  // namespace virtcft
