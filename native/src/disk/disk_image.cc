#include "disk_image.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>

#include "../memory/failure.h"

namespace virtcft {

namespace {

size_t blockOf(size_t offset) { return offset / kPageBytes; }
size_t blockAfter(size_t offset) { return (offset + kPageBytes - 1) / kPageBytes; }

Descriptor lockDirectory(const std::string& directory) {
  Descriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) failWith(errno == ENOENT || errno == ENOTDIR ? code::kNoDisk : code::kIo, "open " + directory);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) throw Failure(code::kState, "the disk in " + directory + " is in use: close it first, or end the process that has it");
  return fd;
}

}  // namespace

DiskImage::DiskImage(const std::string& directory, Descriptor lock, size_t blocks)
    : directory_(directory), lock_(std::move(lock)), blocks_(blocks), planes_(directory, blocks), base_(blocks), newest_(blocks), journal_(directory), open_(blocks),
      spare_(blocks), presentBlocks_(blocks) {}

std::unique_ptr<DiskImage> DiskImage::create(const std::string& directory, size_t bytes, const std::string& image) {
  if (bytes == 0 || bytes % kPageBytes != 0 || bytes / kPageBytes > kMaxPages) {
    throw Failure(code::kInvalid, "disk of " + std::to_string(bytes) + " bytes: must be a positive multiple of 4096, at most 4 TiB");
  }
  Descriptor lock = lockDirectory(directory);
  if (Journal::exists(directory)) throw Failure(code::kExists, directory + " holds a disk already: reopen it, or empty the directory");
  std::unique_ptr<DiskImage> disk(new DiskImage(directory, std::move(lock), bytes / kPageBytes));
  Journal::Draft draft(directory, disk->blocks_);
  draft.add({.change = Change::kBegin});
  if (!image.empty()) {
    draft.add({.change = Change::kBase, .place = 1, .first = 0, .count = static_cast<uint32_t>(disk->blocks_)});
    disk->planes_.adopt(image);
    disk->planes_.open();
    disk->planes_.use(0, disk->blocks_, 1);
    disk->setBase(0, disk->blocks_, 1);
  }
  disk->journal_.replaceBy(draft);  // from here on the directory holds a disk
  return disk;
}

std::unique_ptr<DiskImage> DiskImage::reopen(const std::string& directory) {
  Descriptor lock = lockDirectory(directory);
  const size_t blocks = Journal(directory).open();
  std::unique_ptr<DiskImage> disk(new DiskImage(directory, std::move(lock), blocks));
  disk->planes_.open();
  disk->replay();
  return disk;
}

void DiskImage::requireHeld(uint64_t epoch) const {
  const bool held = epoch == baseEpoch_ || std::any_of(layers_.begin(), layers_.end(), [epoch](const auto& layer) { return layer->epoch() == epoch; });
  if (held) return;
  throw Failure(code::kEpoch, "disk of epoch " + std::to_string(epoch) + " is not held: the base is at epoch " + std::to_string(baseEpoch_) +
                                  ", the newest captured one is " + std::to_string(newestEpoch()));
}

Answer DiskImage::read(size_t offset, size_t length, uint8_t* to, bool cachedOnly, std::vector<Place>& places) const {
  const size_t first = blockOf(offset);
  const size_t count = blockAfter(offset + length) - first;
  places.resize(count);
  for (;;) {
    uint64_t frees;
    {
      std::lock_guard lock(mutex_);
      frees = frees_.load();
      std::memcpy(places.data(), newest_.at(first), count);
    }
    if (std::memchr(places.data(), kAbsentPlace, count)) return Answer::kAbsent;
    int error = 0;
    for (size_t at = 0; at < count && error == 0;) {
      size_t end = at + 1;
      while (end < count && places[end] == places[at]) end++;
      const size_t from = std::max(offset, (first + at) * kPageBytes);
      const size_t bytes = std::min(offset + length, (first + end) * kPageBytes) - from;
      if (places[at] == kZeroPlace) {
        std::memset(to + (from - offset), 0, bytes);
      } else {
        error = cachedOnly ? planes_.readCached(places[at], to + (from - offset), bytes, from) : planes_.read(places[at], to + (from - offset), bytes, from);
      }
      at = end;
    }
    if (error == EAGAIN) return Answer::kNotCached;
    if (frees_.load() != frees) continue;  // what was read may have been given up under the read
    return error == 0 ? Answer::kDone : Answer::kFailed;
  }
}

void DiskImage::absent(size_t offset, size_t length, std::vector<BlockNumber>& blocks) const {
  std::lock_guard lock(mutex_);
  for (size_t block = blockOf(offset); block < blockAfter(offset + length); block++) {
    if (newest_[block] == kAbsentPlace) blocks.push_back(static_cast<BlockNumber>(block));
  }
}

Answer DiskImage::changed(int error) {
  noteTidiness();
  uncommitted_.store(journal_.unwritten(), std::memory_order_relaxed);
  if (error == 0) return Answer::kDone;
  return error == ENOSPC || error == EDQUOT ? Answer::kNoRoom : Answer::kFailed;
}

void DiskImage::giveRoomBack() {
  const std::vector<Extent> taken = planes_.takeStale(true);
  planes_.punch(taken);
  planes_.putBack(taken);
}

Answer DiskImage::write(size_t offset, size_t length, const uint8_t* from) {
  const size_t end = offset + length;
  std::lock_guard lock(mutex_);
  // A part of a block needs the rest of it.
  if (offset % kPageBytes != 0 && newest_[blockOf(offset)] == kAbsentPlace) return Answer::kAbsent;
  if (end % kPageBytes != 0 && newest_[blockOf(end)] == kAbsentPlace) return Answer::kAbsent;
  int error = writeAll(offset, length, from);
  if (error == ENOSPC && planes_.staleBlocks() > 0) {
    giveRoomBack();
    error = writeAll(offset, length, from);
  }
  return changed(error);
}

int DiskImage::writeAll(size_t offset, size_t length, const uint8_t* from) {
  const size_t end = offset + length;
  if (const int error = journal_.reserve(length / kPageBytes + 2)) return error;
  if (offset % kPageBytes != 0 || length < kPageBytes) {
    const size_t part = std::min(end, (blockOf(offset) + 1) * kPageBytes) - offset;
    if (const int error = writePart(offset, part, from)) return error;
    offset += part;
    from += part;
  }
  const size_t whole = (end - offset) / kPageBytes;
  if (whole > 0) {
    if (const int error = writeWhole(blockOf(offset), whole, from)) return error;
    offset += whole * kPageBytes;
    from += whole * kPageBytes;
  }
  return offset < end ? writePart(offset, end - offset, from) : 0;
}

int DiskImage::writePart(size_t offset, size_t length, const uint8_t* from) {
  const size_t block = blockOf(offset);
  const Place place = newest_[block];
  if (ownSlot(block)) return planes_.write(place, from, length, offset);
  alignas(8) uint8_t whole[kPageBytes] = {};
  if (inPlane(place)) {
    if (const int error = planes_.read(place, whole, kPageBytes, block * kPageBytes)) return error;
  }
  std::memcpy(whole + offset % kPageBytes, from, length);
  return writeWhole(block, 1, whole);
}

int DiskImage::writeWhole(size_t first, size_t count, const uint8_t* from) {
  for (size_t at = first, end = first + count; at < end;) {
    const bool own = ownSlot(at);
    size_t stop = at + 1;
    while (stop < end && ownSlot(stop) == own && (!own || newest_[stop] == newest_[at])) stop++;
    const auto [place, blocks] = own ? std::pair{newest_[at], stop - at} : planes_.choose(at, stop - at);
    if (blocks == 0) return ENOSPC;
    const int error = planes_.write(place, from + (at - first) * kPageBytes, blocks * kPageBytes, at * kPageBytes);
    if (!own) {
      planes_.use(at, blocks, place);
      if (error != 0) planes_.release(at, blocks, place);
    }
    if (error != 0) return error;
    if (!own) map(at, blocks, place);
    at += blocks;
  }
  return 0;
}

void DiskImage::map(size_t first, size_t count, Place place) {
  journal_.add({.change = Change::kWrite, .place = place, .first = static_cast<uint32_t>(first), .count = static_cast<uint32_t>(count)});
  newest_.fill(first, count, place);
  openBlocks_ += open_.set(first, count);
  openExtents_.add(first, count, place);
  if (inPlane(place)) openHeld_ += count;
}

void DiskImage::unmapOwn(size_t first, size_t count) {
  for (size_t at = first, end = first + count; at < end;) {
    const size_t stop = newest_.runEnd(at, end);
    if (inPlane(newest_[at])) {
      for (size_t block = at; block < stop; block++) {
        if (!open_.test(block)) continue;
        planes_.release(block, 1, newest_[at]);
        openHeld_--;
      }
    }
    at = stop;
  }
}

void DiskImage::zeroWhole(size_t first, size_t count) {
  for (size_t at = first, end = first + count; at < end;) {
    if (newest_[at] == kZeroPlace) {
      at = newest_.runEnd(at, end);
      continue;
    }
    size_t stop = at + 1;
    while (stop < end && newest_[stop] != kZeroPlace) stop++;
    unmapOwn(at, stop - at);
    map(at, stop - at, kZeroPlace);
    at = stop;
  }
}

Answer DiskImage::zero(size_t offset, size_t length, bool exact) {
  const size_t end = offset + length;
  std::lock_guard lock(mutex_);
  if (exact && offset % kPageBytes != 0 && newest_[blockOf(offset)] == kAbsentPlace) return Answer::kAbsent;
  if (exact && end % kPageBytes != 0 && newest_[blockOf(end)] == kAbsentPlace) return Answer::kAbsent;
  return changed(zeroAll(offset, length, exact));
}

int DiskImage::zeroAll(size_t offset, size_t length, bool exact) {
  const size_t end = offset + length;
  const size_t wholeFrom = std::min(blockAfter(offset) * kPageBytes, end);
  const size_t wholeTo = std::max(blockOf(end) * kPageBytes, wholeFrom);
  // Between two blocks that are zero already lies one that is not, so half of them is the most.
  if (const int error = journal_.reserve((wholeTo - wholeFrom) / kPageBytes / 2 + 3)) return error;
  const auto part = [this](size_t from, size_t to) { return from == to || newest_[blockOf(from)] == kZeroPlace ? 0 : writePart(from, to - from, kZeroPage); };
  if (exact) {
    if (const int error = part(offset, wholeFrom)) return error;
    if (const int error = part(wholeTo, end)) return error;
  }
  if (wholeTo > wholeFrom) zeroWhole(blockOf(wholeFrom), blockOf(wholeTo) - blockOf(wholeFrom));
  return 0;
}

void DiskImage::commit() {
  if (!uncommitted_.load(std::memory_order_relaxed)) return;
  std::lock_guard lock(mutex_);
  journal_.write();
  uncommitted_.store(false, std::memory_order_relaxed);
}

DiskImage::Held DiskImage::held() const {
  return {baseBlocks_ * kPageBytes, layerHeld_ * kPageBytes, layerCount_, openBlocks_, presentBlocks_};
}

}  // namespace virtcft
