// Filling a disk's base, and what it leaves on files: replay and rewriting of the journal, room given back.
#include <algorithm>

#include "../memory/failure.h"
#include "disk_image.h"

namespace virtcft {

void DiskImage::beginFill(uint64_t epoch) {
  std::lock_guard base(baseMutex_);
  std::lock_guard lock(mutex_);
  Journal::Draft draft(directory_, blocks_);
  draft.add({.change = Change::kBegin, .place = kAbsentPlace, .epoch = epoch});
  journal_.replaceBy(draft);
  uncommitted_ = false;
  frees_++;
  for (const Extent& extent : openExtents_.take()) open_.clear(extent.first, extent.count);
  layers_.clear();
  openBlocks_ = openHeld_ = layerCount_ = layerHeld_ = baseBlocks_ = presentBlocks_ = 0;
  baseEpoch_ = epoch;
  base_.fill(0, blocks_, kAbsentPlace);
  newest_.fill(0, blocks_, kAbsentPlace);
  planes_.empty();
}

size_t DiskImage::supply(const SectionReader& section) {
  std::lock_guard base(baseMutex_);
  size_t supplied = 0;
  std::vector<uint8_t> gathered(section::kBlockBytes);
  size_t first = 0, count = 0;
  bool zero = false;
  const auto put = [&](size_t from, size_t blocks) {  // all absent
    std::unique_lock lock(mutex_);
    if (journal_.reserve(blocks) != 0) giveRoomBack();
    for (size_t at = from, end = from + blocks; at < end;) {
      auto [place, run] = zero ? std::pair<Place, size_t>{kZeroPlace, end - at} : planes_.choose(at, end - at);
      if (run == 0) throw Failure(code::kIo, "no room for a plane of the disk in " + directory_);
      if (!zero) {
        planes_.use(at, run, place);
        lock.unlock();
        int error = planes_.write(place, gathered.data() + (at - first) * kPageBytes, run * kPageBytes, at * kPageBytes);
        lock.lock();
        if (error == ENOSPC) {
          giveRoomBack();
          error = planes_.write(place, gathered.data() + (at - first) * kPageBytes, run * kPageBytes, at * kPageBytes);
        }
        if (error != 0) {
          planes_.release(at, run, place);
          failWith(code::kIo, "write the disk in " + directory_, error);
        }
      }
      journal_.add({.change = Change::kBase, .place = place, .first = static_cast<uint32_t>(at), .count = static_cast<uint32_t>(run)});
      setBase(at, run, place);
      at += run;
    }
    journal_.write();
    uncommitted_ = false;
    supplied += blocks;
  };
  const auto flush = [&] {
    for (size_t at = first, end = first + count; at < end;) {
      const size_t stop = base_.runEnd(at, end);
      if (base_[at] == kAbsentPlace) put(at, stop - at);
      at = stop;
    }
    count = 0;
  };
  section.each([&](PageNumber block, PageKind kind, const uint8_t* content) {
    const bool isZero = kind == PageKind::kZero;
    if (count > 0 && (block != first + count || isZero != zero || (!zero && count == section::kBlockPages))) flush();
    if (count == 0) first = block;
    zero = isZero;
    if (!zero) std::memcpy(gathered.data() + count * kPageBytes, content, kPageBytes);
    count++;
  });
  flush();
  std::lock_guard lock(mutex_);
  noteTidiness();
  return supplied;
}

size_t DiskImage::supplyRestAsZero() {
  std::lock_guard base(baseMutex_);
  {
    std::lock_guard lock(mutex_);
    static_cast<void>(journal_.reserve(1));
    journal_.add({.change = Change::kRestZero});
    journal_.write();
    uncommitted_ = false;
  }
  size_t supplied = 0;
  for (size_t at = 0; at < blocks_;) {
    std::lock_guard lock(mutex_);
    for (const size_t turn = std::min(blocks_, at + kBlocksPerTurn); at < turn;) {
      const size_t stop = base_.runEnd(at, turn);
      if (base_[at] == kAbsentPlace) {
        setBase(at, stop - at, kZeroPlace);
        supplied += stop - at;
      }
      at = stop;
    }
  }
  return supplied;
}

void DiskImage::replay() {
  bool begun = false;
  journal_.open();
  journal_.replay([&](const JournalRecord& record) {
    if (begun == (record.change == Change::kBegin)) throw Failure(code::kBadDisk, "the journal of " + directory_ + " does not begin as it must");
    begun = true;
    apply(record);
  });
  if (!begun) throw Failure(code::kBadDisk, "the journal of " + directory_ + " is empty");
  planes_.findStale();
  noteTidiness();
}

void DiskImage::apply(const JournalRecord& record) {
  const auto require = [&](bool holds, const char* what) {
    if (!holds) throw Failure(code::kBadDisk, "the journal of " + directory_ + " says what cannot be: " + what);
  };
  const size_t first = record.first, count = record.count;
  const bool ranged = record.change == Change::kBase || record.change == Change::kWrite;
  if (ranged) {
    require(count > 0 && first < blocks_ && count <= blocks_ - first, "blocks beyond the disk");
    require(record.place == kZeroPlace || planes_.has(record.place), "a plane that is not there");
  }
  switch (record.change) {
    case Change::kBegin:
      require(record.place == kZeroPlace || record.place == kAbsentPlace, "a base that is neither zero nor absent");
      baseEpoch_ = record.epoch;
      if (record.place == kZeroPlace) return;
      base_.fill(0, blocks_, kAbsentPlace);
      newest_.fill(0, blocks_, kAbsentPlace);
      presentBlocks_ = 0;
      return;
    case Change::kBase:
      for (size_t block = first; block < first + count; block++) require(!inPlane(base_[block]), "a block of the base in two places");
      require(record.place == kZeroPlace || !planes_.used(first, count, record.place), "a slot used twice");
      if (inPlane(record.place)) planes_.use(first, count, record.place);
      setBase(first, count, record.place);
      return;
    case Change::kRestZero:
      for (size_t at = 0; at < blocks_;) {
        const size_t stop = base_.runEnd(at, blocks_);
        if (base_[at] == kAbsentPlace) setBase(at, stop - at, kZeroPlace);
        at = stop;
      }
      return;
    case Change::kWrite:
      unmapOwn(first, count);
      require(record.place == kZeroPlace || !planes_.used(first, count, record.place), "a slot used twice");
      if (inPlane(record.place)) {
        planes_.use(first, count, record.place);
        openHeld_ += count;
      }
      newest_.fill(first, count, record.place);
      openBlocks_ += open_.set(first, count);
      openExtents_.add(first, count, record.place);
      return;
    case Change::kSeal:
      require(record.epoch > newestEpoch() && layers_.size() < kMostLayers, "an epoch out of order");
      for (const Extent& extent : openExtents_.written()) open_.clear(extent.first, extent.count);
      addLayer(take(record.epoch));
      return;
    case Change::kFold:
      require(record.epoch > baseEpoch_ && record.epoch <= newestEpoch(), "a fold of what was not captured");
      for (const auto& layer : layers_) {
        if (layer->epoch() > record.epoch) break;
        for (const Extent& extent : layer->extents()) foldExtent(extent);
      }
      baseEpoch_ = record.epoch;
      removeFolded(record.epoch);
      return;
    case Change::kRollback:
      require(record.epoch == baseEpoch_ || std::any_of(layers_.begin(), layers_.end(), [&](const auto& layer) { return layer->epoch() == record.epoch; }),
              "a rollback to what was not held");
      drop(record.epoch);
      return;
  }
  require(false, "a change of unknown kind");
}

void DiskImage::writeDown(Journal::Draft& draft, const std::vector<Extent>& extents) const {
  for (const Extent& extent : extents) draft.add({.change = Change::kWrite, .place = extent.place, .first = extent.first, .count = extent.count});
}

void DiskImage::tidy(bool anyway) {
  std::lock_guard base(baseMutex_);
  std::vector<Extent> stale;
  std::vector<std::shared_ptr<const DiskLayer>> layers;
  bool rewrite;
  uint64_t baseEpoch;
  {
    std::lock_guard lock(mutex_);
    if (anyway || planes_.tooStale()) stale = planes_.takeStale(anyway);
    rewrite = anyway || journal_.grown();
    layers = layers_;
    baseEpoch = baseEpoch_;
  }
  planes_.punch(stale);
  {
    std::lock_guard lock(mutex_);
    planes_.putBack(stale);
    noteTidiness();
  }
  if (rewrite) {
    Journal::Draft draft(directory_, blocks_);
    const Place usual = presentBlocks_ < blocks_ ? kAbsentPlace : kZeroPlace;
    draft.add({.change = Change::kBegin, .place = usual, .epoch = baseEpoch});
    for (size_t at = 0; at < blocks_;) {  // only who has `baseMutex_` changes the base
      const size_t stop = base_.runEnd(at, blocks_);
      if (base_[at] != usual) draft.add({.change = Change::kBase, .place = base_[at], .first = static_cast<uint32_t>(at), .count = static_cast<uint32_t>(stop - at)});
      at = stop;
    }
    for (const auto& layer : layers) {
      writeDown(draft, layer->extents());
      draft.add({.change = Change::kSeal, .epoch = layer->epoch()});
    }
    std::lock_guard lock(mutex_);
    // A rollback has dropped some of them meanwhile: the next turn writes it all anew.
    if (layers.size() <= layers_.size() && std::equal(layers.begin(), layers.end(), layers_.begin())) {
      for (size_t i = layers.size(); i < layers_.size(); i++) {
        writeDown(draft, layers_[i]->extents());
        draft.add({.change = Change::kSeal, .epoch = layers_[i]->epoch()});
      }
      writeDown(draft, settle(openExtents_.written()));
      journal_.replaceBy(draft);
      uncommitted_ = false;
    }
    noteTidiness();
  }
}

}  // namespace virtcft
