#include "process.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <cinttypes>
#include <cstdio>
#include <fstream>

#include "failure.h"

namespace virtcft {

Process::Process(int pid) : pid_(pid), pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {
  if (!pidfd_) failWith(code::kProcess, "open process " + std::to_string(pid));
}

bool Process::exited() const {
  pollfd poll{pidfd_.get(), POLLIN, 0};
  return ::poll(&poll, 1, 0) > 0;
}

Range Process::findMapping(const GuestRam& ram) const {
  std::ifstream maps(path("maps"));
  Range found;
  uint64_t next = 0;  // file offset that the next piece must have: neighbours with different flags are listed apart
  std::string line;
  while (std::getline(maps, line)) {
    uint64_t start = 0, end = 0, offset = 0, inode = 0;
    unsigned major = 0, minor = 0;
    char flags[8] = {};
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %x:%x %" SCNu64, &start, &end, flags, &offset, &major, &minor, &inode) != 7) continue;
    if (inode != ram.inode() || makedev(major, minor) != ram.device() || flags[3] != 's') continue;
    if (offset == 0 && next == 0) {
      found = {start, end};
    } else if (offset == next && start == found.end) {
      found.end = end;
    } else {
      throw Failure(code::kProcess, "process " + std::to_string(pid_) + " maps the guest RAM file in several places");
    }
    next = offset + (end - start);
  }
  if (found.bytes() != ram.pages() * kPageBytes) {
    throw Failure(code::kProcess, "process " + std::to_string(pid_) + " does not map the whole guest RAM file, shared (is it running, with share=on?)");
  }
  return found;
}

}  // namespace virtcft
