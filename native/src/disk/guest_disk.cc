#include "guest_disk.h"

#include <algorithm>
#include <chrono>

#include "../memory/failure.h"
#include "../section/section.h"
#include "../section/sha256.h"

namespace virtcft {

namespace {
using Clock = std::chrono::steady_clock;
int64_t microsecondsSince(Clock::time_point start) { return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count(); }
}  // namespace

class GuestDisk::Quiet {
 public:
  explicit Quiet(GuestDisk& disk) : lock_(disk.serverMutex_), server_(disk.server_.get()) {
    if (server_) server_->cut();
  }
  ~Quiet() {
    if (server_) server_->resume();
  }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  std::lock_guard<std::mutex> lock_;
  Server* server_;
};

void GuestDisk::serve(const std::string& socket) {
  std::lock_guard lock(serverMutex_);
  if (server_) throw Failure(code::kState, "this disk is served already");
  server_ = std::make_unique<Server>(
      *image_, socket,
      [this](const std::vector<BlockNumber>& blocks) {
        Server::Wanted wanted;
        {
          std::lock_guard inner(wantedMutex_);
          wanted = wanted_;
        }
        if (wanted) wanted(blocks);
      },
      counts_);
}

DiskCaptured GuestDisk::capture(uint64_t epoch) {
  const auto start = Clock::now();
  size_t busy = 0;
  {
    std::lock_guard lock(serverMutex_);
    if (server_) busy = server_->busy();
  }
  const size_t blocks = image_->seal(epoch);
  return {blocks, busy, microsecondsSince(start)};
}

size_t GuestDisk::rollback(uint64_t epoch) {
  const Quiet quiet(*this);
  return image_->rollback(epoch);
}

Encoded GuestDisk::encode(std::optional<uint64_t> parent, uint64_t epoch) {
  const auto start = Clock::now();
  SectionWriter writer(image_->blocks(), !parent);
  std::vector<uint8_t> piece(kPieceBlocks * kPageBytes);
  std::vector<Place> places;
  const auto add = [&](size_t first, size_t count) {
    for (size_t at = first, end = first + count; at < end;) {
      const size_t blocks = std::min(kPieceBlocks, end - at);
      const bool held = image_->contentAt(epoch, at, blocks, piece.data(), places);
      for (size_t i = 0; i < blocks && (held || parent); i++) {
        const auto block = static_cast<BlockNumber>(at + i);
        const uint8_t* content = piece.data() + i * kPageBytes;
        if (places[i] != kZeroPlace && !isZeroPage(content)) {
          writer.addRaw(block, content);
        } else if (parent) {
          writer.addZero(block);
        }
      }
      at += blocks;
    }
  };
  if (!parent) {
    add(0, image_->blocks());
  } else {
    if (*parent > epoch) throw Failure(code::kEpoch, "the parent " + std::to_string(*parent) + " is newer than epoch " + std::to_string(epoch));
    for (const Extent& extent : image_->writtenIn(*parent, epoch)) add(extent.first, extent.count);
  }
  const SectionCounts counts = writer.counts();
  return {writer.finish(), counts, {}, microsecondsSince(start)};
}

void GuestDisk::tidy() {
  if (!image_->untidy()) return;
  try {
    image_->tidy();
  } catch (const Failure&) {
    return;
  }
}

size_t GuestDisk::fold(uint64_t epoch) {
  const size_t blocks = image_->fold(epoch);
  tidy();
  return blocks;
}

std::string GuestDisk::digest(uint64_t epoch) {
  Sha256 hash;
  std::vector<uint8_t> piece(kPieceBlocks * kPageBytes);
  std::vector<Place> places;
  for (size_t at = 0; at < image_->blocks(); at += kPieceBlocks) {
    const size_t blocks = std::min(kPieceBlocks, image_->blocks() - at);
    image_->contentAt(epoch, at, blocks, piece.data(), places);
    hash.update(piece.data(), blocks * kPageBytes);
  }
  return hash.finish();
}

void GuestDisk::beginFill(uint64_t epoch) {
  const Quiet quiet(*this);
  image_->beginFill(epoch);
  filledBlocks_ = 0;
}

void GuestDisk::filled(size_t blocks) {
  filledBlocks_ += blocks;
  std::lock_guard lock(serverMutex_);
  if (server_) server_->supplied();
}

size_t GuestDisk::supply(std::span<const uint8_t> bytes) {
  const SectionReader section(bytes);
  if (section.memoryPages() != image_->blocks()) {
    throw Failure(code::kBadSection, "page section refused: it is of " + std::to_string(section.memoryPages()) + " blocks, the disk has " +
                                         std::to_string(image_->blocks()));
  }
  if (section.counts().xored > 0) throw Failure(code::kBadSection, "page section refused: a fill takes raw and zero blocks only");
  section.check();
  const size_t blocks = image_->supply(section);
  filled(blocks);
  tidy();
  return blocks;
}

size_t GuestDisk::supplyRestAsZero() {
  const size_t blocks = image_->supplyRestAsZero();
  filled(blocks);
  return blocks;
}

void GuestDisk::onWanted(Server::Wanted wanted) {
  {
    std::lock_guard lock(wantedMutex_);
    wanted_ = wanted;
  }
  std::vector<BlockNumber> waiting;
  {
    std::lock_guard lock(serverMutex_);
    if (server_) waiting = server_->waiting();
  }
  if (wanted && !waiting.empty()) wanted(waiting);
}

FillStats GuestDisk::fillStats() const {
  FillStats stats;
  stats.faults = counts_.waited;
  stats.prefetched = filledBlocks_;
  stats.total = image_->blocks();
  stats.present = image_->held().present_blocks;
  stats.done = stats.present == stats.total;
  return stats;
}

GuestDisk::Stats GuestDisk::stats() const {
  return {image_->held(), counts_.connections, counts_.reads, counts_.writes, counts_.flushes, counts_.read_bytes, counts_.written_bytes};
}

}  // namespace virtcft
