#include "planes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>

#include "../memory/failure.h"

namespace virtcft {

Planes::Planes(std::string directory, size_t blocks)
    : directory_(std::move(directory)), blocks_(blocks), staleMost_(std::clamp(blocks, kStaleLeastBlocks, kStaleMostBlocks)) {}

void Planes::adopt(const std::string& image) {
  struct stat info {};
  if (::stat(image.c_str(), &info) != 0) failWith(code::kIo, "stat image " + image);
  if (!S_ISREG(info.st_mode) || static_cast<size_t>(info.st_size) != blocks_ * kPageBytes) {
    throw Failure(code::kInvalid, "image " + image + " must be a file of exactly " + std::to_string(blocks_ * kPageBytes) + " bytes");
  }
  if (::rename(image.c_str(), pathOf(1).c_str()) != 0) failWith(code::kIo, "take image " + image + " into " + directory_);
}

void Planes::open() {
  for (size_t number = 1; number <= kMostPlanes; number++) {
    Descriptor fd(::open(pathOf(number).c_str(), O_RDWR | O_CLOEXEC));
    if (!fd && errno == ENOENT) break;
    if (!fd) failWith(code::kIo, "open " + pathOf(number));
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) failWith(code::kIo, "stat " + pathOf(number));
    // One that was being made when the process died has no length yet, and holds nothing.
    if (info.st_size == 0 && ::ftruncate(fd.get(), static_cast<off_t>(blocks_ * kPageBytes)) != 0) failWith(code::kIo, "size " + pathOf(number));
    if (info.st_size != 0 && static_cast<size_t>(info.st_size) != blocks_ * kPageBytes) {
      throw Failure(code::kBadDisk, pathOf(number) + " has " + std::to_string(info.st_size) + " bytes, the disk " + std::to_string(blocks_ * kPageBytes));
    }
    planes_[number - 1] = std::make_unique<Plane>(std::move(fd), blocks_);
    count_ = number;
  }
}

bool Planes::add() {
  if (count_ == kMostPlanes) return false;
  const std::string path = pathOf(count_ + 1);
  Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(blocks_ * kPageBytes)) != 0) return false;
  planes_[count_] = std::make_unique<Plane>(std::move(fd), blocks_);
  count_++;
  return true;
}

std::pair<Place, size_t> Planes::choose(size_t first, size_t count) {
  for (;; count = (count + 1) / 2) {
    for (size_t plane = 0; plane < count_; plane++) {
      if (free(plane, first, count)) return {static_cast<Place>(plane + 1), count};
    }
    if ((count_ < kEasyPlanes || count == 1) && add()) return {static_cast<Place>(count_.load()), count};
    if (count == 1) return {0, 0};
  }
}

void Planes::use(size_t first, size_t count, Place place) {
  Plane& plane = *planes_[place - 1];
  stale_.fetch_sub(plane.held.countIn(first, count), std::memory_order_relaxed);
  plane.held.set(first, count);
  plane.used.set(first, count);
}

void Planes::release(size_t first, size_t count, Place place) {
  Plane& plane = *planes_[place - 1];
  plane.used.clear(first, count);
  plane.held.set(first, count);
  stale_.fetch_add(count, std::memory_order_relaxed);
  std::deque<Extent>& released = plane.released;
  if (!released.empty() && released.back().end() == first) {
    released.back().count += static_cast<uint32_t>(count);
  } else {
    released.push_back({static_cast<BlockNumber>(first), static_cast<uint32_t>(count), place});
  }
  // Slots that were used again are still named by what was released before: forgotten once that is most of the list.
  if (released.size() > kReleasedMost) released.pop_front();
}

int Planes::write(Place place, const uint8_t* from, size_t length, size_t offset) const {
  for (size_t done = 0; done < length;) {
    const ssize_t put = ::pwrite(planes_[place - 1]->fd.get(), from + done, length - done, static_cast<off_t>(offset + done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno;
    done += static_cast<size_t>(put);
  }
  return 0;
}

int Planes::read(Place place, uint8_t* to, size_t length, size_t offset) const {
  for (size_t done = 0; done < length;) {
    const ssize_t got = ::pread(planes_[place - 1]->fd.get(), to + done, length - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return EIO;  // the file became shorter
    done += static_cast<size_t>(got);
  }
  return 0;
}

int Planes::readCached(Place place, uint8_t* to, size_t length, size_t offset) const {
  if (!cachedWorks_.load(std::memory_order_relaxed)) return read(place, to, length, offset);
  for (size_t done = 0; done < length;) {
    const iovec piece{to + done, length - done};
    const ssize_t got = ::preadv2(planes_[place - 1]->fd.get(), &piece, 1, static_cast<off_t>(offset + done), RWF_NOWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EOPNOTSUPP) {  // a file system whose files lie in memory anyway, or one without this
      cachedWorks_.store(false, std::memory_order_relaxed);
      return read(place, to, length, offset);
    }
    if (got < 0) return errno;
    if (got == 0) return EAGAIN;
    done += static_cast<size_t>(got);
  }
  return 0;
}

std::vector<Extent> Planes::takeStale(bool all) {
  const size_t target = all ? 0 : staleMost_ - staleMost_ / kStaleSlack;
  std::vector<Extent> candidates;
  // New versions go to the lowest plane that is free: what lies stale in the highest is needed last.
  for (size_t number = count_, left = staleBlocks(); number > 0; number--) {
    for (std::deque<Extent>& released = planes_[number - 1]->released; left > target && !released.empty(); released.pop_front()) {
      candidates.push_back(released.front());
      left -= std::min<size_t>(left, released.front().count);
    }
  }
  std::vector<Extent> taken;
  for (const Extent& extent : candidates) {
    Plane& plane = *planes_[extent.place - 1];
    for (size_t block = extent.first; block < extent.end(); block++) {
      if (plane.used.test(block) || !plane.held.test(block)) continue;
      use(block, 1, extent.place);
      if (!taken.empty() && taken.back().place == extent.place && taken.back().end() == block) {
        taken.back().count++;
      } else {
        taken.push_back({static_cast<BlockNumber>(block), 1, extent.place});
      }
    }
  }
  return taken;
}

void Planes::punch(const std::vector<Extent>& taken) const {
  for (const Extent& extent : taken) {
    // A file system without holes keeps the room: then there is nothing to give back.
    if (::fallocate(planes_[extent.place - 1]->fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(size_t{extent.first} * kPageBytes),
                    static_cast<off_t>(size_t{extent.count} * kPageBytes)) != 0) {
      return;
    }
  }
}

void Planes::putBack(const std::vector<Extent>& taken) {
  for (const Extent& extent : taken) {
    planes_[extent.place - 1]->used.clear(extent.first, extent.count);
    planes_[extent.place - 1]->held.clear(extent.first, extent.count);
  }
}

void Planes::empty() {
  for (size_t number = 1; number <= count_; number++) {
    Plane& plane = *planes_[number - 1];
    plane.used.clear(0, blocks_);
    plane.held.clear(0, blocks_);
    plane.released.clear();
    if (::ftruncate(plane.fd.get(), 0) != 0 || ::ftruncate(plane.fd.get(), static_cast<off_t>(blocks_ * kPageBytes)) != 0) failWith(code::kIo, "empty " + pathOf(number));
  }
  stale_ = 0;
}

void Planes::findStale() {
  for (size_t number = 1; number <= count_; number++) {
    Plane& plane = *planes_[number - 1];
    const auto end = static_cast<off_t>(blocks_ * kPageBytes);
    for (off_t at = 0; at < end;) {
      const off_t data = ::lseek(plane.fd.get(), at, SEEK_DATA);
      if (data < 0) break;
      const off_t hole = ::lseek(plane.fd.get(), data, SEEK_HOLE);
      if (hole < 0) break;
      const size_t stop = (static_cast<size_t>(hole) + kPageBytes - 1) / kPageBytes;
      for (size_t block = static_cast<size_t>(data) / kPageBytes; block < stop; block++) {
        if (!plane.used.test(block)) release(block, 1, static_cast<Place>(number));
      }
      at = hole;
    }
  }
}

}  // namespace virtcft
