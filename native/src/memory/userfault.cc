#include "userfault.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "failure.h"
#include "injection.h"
#include "kernel_abi.h"

namespace virtcft {

namespace {

constexpr int kFlags = O_CLOEXEC | O_NONBLOCK;

Descriptor duplicate(const Process& process, int fd) {
  return Descriptor(static_cast<int>(::syscall(SYS_pidfd_getfd, process.pidfd(), fd, 0)));
}

/** The userfaultfds that are open in the process. */
std::vector<Descriptor> existing(const Process& process) {
  std::vector<Descriptor> found;
  DIR* folder = ::opendir(process.path("fd").c_str());
  if (!folder) failWith(code::kProcess, "list open files of process " + std::to_string(process.pid()));
  while (const dirent* entry = ::readdir(folder)) {
    char target[64] = {};
    const std::string link = process.path("fd/") + entry->d_name;
    if (::readlink(link.c_str(), target, sizeof target - 1) <= 0 || std::string(target) != "anon_inode:[userfaultfd]") continue;
    Descriptor copy = duplicate(process, std::atoi(entry->d_name));
    if (copy) found.push_back(std::move(copy));
  }
  ::closedir(folder);
  return found;
}

}  // namespace

Userfault::Userfault(const Process& process, Range range, bool missing) : range_(range) {
  for (Descriptor& inherited : existing(process)) {
    fd_ = std::move(inherited);
    if (tryRegister(missing)) return;  // one of another maker fails here: not its range, or not initialised
  }
  const long made = callInside(process.pid(), SYS_userfaultfd, kFlags);
  if (made < 0) {
    failWith(code::kNoTracker, "userfaultfd inside process " + std::to_string(process.pid()) +
                 " (it must be root or have CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd=1; no -sandbox): use the tracker `compare`", static_cast<int>(-made));
  }
  fd_ = duplicate(process, static_cast<int>(made));
  if (!fd_) failWith(code::kNoTracker, "take the userfaultfd of process " + std::to_string(process.pid()));
  handshake();
  if (!tryRegister(missing)) failWith(code::kNoTracker, "register the guest RAM for dirty tracking");
}

Userfault Userfault::own(Range range, bool missing) {
  Userfault made(Descriptor(static_cast<int>(::syscall(SYS_userfaultfd, kFlags))), range);
  if (!made.fd_) failWith(code::kNoTracker, "userfaultfd");
  made.handshake();
  if (!made.tryRegister(missing)) failWith(code::kNoTracker, "register memory with userfaultfd");
  return made;
}

void Userfault::handshake() const {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_MISSING_SHMEM;
  if (::ioctl(fd_.get(), UFFDIO_API, &api) != 0) failWith(code::kNoTracker, "userfaultfd with asynchronous write protection (Linux 6.7 or newer)");
}

bool Userfault::tryRegister(bool missing) const {
  uffdio_register request{};
  request.range = {range_.start, range_.bytes()};
  request.mode = UFFDIO_REGISTER_MODE_WP | (missing ? UFFDIO_REGISTER_MODE_MISSING : 0);
  return ::ioctl(fd_.get(), UFFDIO_REGISTER, &request) == 0;
}

void Userfault::protect() const {
  uffdio_writeprotect request{};
  request.range = {range_.start, range_.bytes()};
  request.mode = UFFDIO_WRITEPROTECT_MODE_WP;
  while (::ioctl(fd_.get(), UFFDIO_WRITEPROTECT, &request) != 0) {
    if (errno != EAGAIN) failWith(errno == ESRCH ? code::kProcess : code::kNoTracker, "write-protect the guest RAM");
  }
}

void Userfault::unregister() const {
  uffdio_range request{range_.start, range_.bytes()};
  if (::ioctl(fd_.get(), UFFDIO_UNREGISTER, &request) != 0 && alive()) failWith(code::kIo, "end the tracking of guest RAM");
}

void Userfault::wake(uint64_t offset, size_t bytes) const {
  uffdio_range request{range_.start + offset, bytes};
  if (::ioctl(fd_.get(), UFFDIO_WAKE, &request) != 0) failWith(code::kProcess, "wake a guest's fault");
}

bool Userfault::alive() const {
  uffdio_writeprotect nowhere{};
  nowhere.range = {kPageBytes, kPageBytes};  // below mmap_min_addr, never mapped: ENOENT from a living address space, ESRCH from a dead one
  return ::ioctl(fd_.get(), UFFDIO_WRITEPROTECT, &nowhere) == 0 || errno != ESRCH;
}

Userfault::Copied Userfault::copy(uint64_t offset, const uint8_t* from, size_t bytes) const {
  uffdio_copy request{};
  request.dst = range_.start + offset;
  request.src = reinterpret_cast<uint64_t>(from);
  request.len = bytes;
  request.mode = UFFDIO_COPY_MODE_WP;
  if (::ioctl(fd_.get(), UFFDIO_COPY, &request) == 0) return {bytes, 0};
  const int error = errno;
  if (request.copy > 0) return {static_cast<size_t>(request.copy), 0};
  return {0, error};
}

}  // namespace virtcft
