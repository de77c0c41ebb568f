// The hypervisor process that maps a guest's RAM file, seen from outside.
#pragma once
#include <string>

#include "descriptor.h"
#include "ram.h"

namespace virtcft {

/** Where a process maps the RAM file. */
struct Range {
  uint64_t start = 0;
  uint64_t end = 0;
  uint64_t bytes() const { return end - start; }
};

class Process {
 public:
  /** EPROCESS when there is no such process. */
  explicit Process(int pid);

  int pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  bool exited() const;
  /** EPROCESS unless the process maps the whole file, exactly once. */
  Range findMapping(const GuestRam& ram) const;
  std::string path(const char* entry) const { return "/proc/" + std::to_string(pid_) + "/" + entry; }

 private:
  int pid_;
  Descriptor pidfd_;
};

}  // namespace virtcft
