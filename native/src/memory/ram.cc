#include "ram.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>

#include "failure.h"

namespace virtcft {

GuestRam::GuestRam(const std::string& path, size_t bytes) : bytes_(bytes) {
  if (bytes == 0 || bytes % kPageBytes != 0 || bytes / kPageBytes > kMaxPages) {
    throw Failure(code::kInvalid, "guest memory of " + std::to_string(bytes) + " bytes: must be a positive multiple of 4096, at most 4 TiB");
  }
  fd_.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd_) failWith(code::kIo, "open guest RAM file " + path);
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0) failWith(code::kIo, "stat guest RAM file " + path);
  if (static_cast<size_t>(info.st_size) != bytes) {
    throw Failure(code::kInvalid, "guest RAM file " + path + " has " + std::to_string(info.st_size) + " bytes, expected " + std::to_string(bytes));
  }
  device_ = info.st_dev;
  inode_ = info.st_ino;
  void* map = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_.get(), 0);
  if (map == MAP_FAILED) failWith(code::kIo, "map guest RAM file " + path);
  map_ = static_cast<uint8_t*>(map);
  // Tracking granularity is the page: a huge page of shmem would make it 2 MiB. Kernels without huge pages answer EINVAL, and need nothing.
  ::madvise(map_, bytes, MADV_NOHUGEPAGE);
  // A core dump of the agent must not hold the guest; the same for base and layers.
  if (::madvise(map_, bytes, MADV_DONTDUMP) != 0) failWith(code::kIo, "keep guest RAM file " + path + " out of core dumps");
}

GuestRam::~GuestRam() {
  if (map_) ::munmap(map_, bytes_);
}

void GuestRam::eachDataIn(PageNumber from, size_t count, const std::function<void(PageNumber, size_t)>& run) const {
  const auto end = static_cast<off_t>((size_t{from} + count) * kPageBytes);
  for (auto at = static_cast<off_t>(size_t{from} * kPageBytes); at < end;) {
    const off_t data = ::lseek(fd_.get(), at, SEEK_DATA);
    if (data < 0) {
      if (errno == ENXIO) return;  // no data up to the end
      failWith(code::kIo, "find data of the guest RAM file");
    }
    if (data >= end) return;
    const off_t hole = ::lseek(fd_.get(), data, SEEK_HOLE);
    if (hole < 0) failWith(code::kIo, "find holes of the guest RAM file");
    const size_t first = static_cast<size_t>(data) / kPageBytes;
    const size_t last = (static_cast<size_t>(std::min(hole, end)) + kPageBytes - 1) / kPageBytes;
    run(static_cast<PageNumber>(first), last - first);
    at = static_cast<off_t>(last * kPageBytes);
  }
}

bool GuestRam::isHole(PageNumber number) const {
  const auto at = static_cast<off_t>(size_t{number} * kPageBytes);
  const off_t data = ::lseek(fd_.get(), at, SEEK_DATA);
  if (data < 0 && errno != ENXIO) failWith(code::kIo, "find data of the guest RAM file");
  return data != at;
}

void GuestRam::punch(PageNumber first, size_t count) const {
  const auto at = static_cast<off_t>(size_t{first} * kPageBytes);
  if (::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, static_cast<off_t>(count * kPageBytes)) != 0) {
    failWith(code::kIo, "punch pages out of the guest RAM file");
  }
}

}  // namespace virtcft
