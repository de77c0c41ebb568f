// A userfaultfd that lives in the hypervisor's address space: write protection for dirty tracking, missing pages for the lazy fill.
#pragma once
#include <optional>

#include "process.h"

namespace virtcft {

class Userfault {
 public:
  /**
   * Takes the userfaultfd of an earlier agent out of the process, or makes one there, and registers `range`. It stays open inside the
   * process: tracking outlives us, and faults on missing pages block for ever instead of reading zero.
   */
  Userfault(const Process& process, Range range, bool missing);
  /** For the probe: in our own address space. */
  static Userfault own(Range range, bool missing);

  int fd() const { return fd_.get(); }
  const Range& range() const { return range_; }
  /** Write-protects the whole range, also where no page is present. */
  void protect() const;
  /** Tracking ends, missing pages read as zero from here on. */
  void unregister() const;
  void wake(uint64_t offset, size_t bytes) const;
  /** False when the address space is gone: what a scan said before it did not count. */
  bool alive() const;

  struct Copied {
    size_t bytes;   // put in place, write-protected
    int error;      // 0, EEXIST (the next page is there already), EAGAIN, ESRCH or ENOENT (the process is gone)
  };
  Copied copy(uint64_t offset, const uint8_t* from, size_t bytes) const;

 private:
  Userfault(Descriptor fd, Range range) : fd_(std::move(fd)), range_(range) {}
  bool tryRegister(bool missing) const;
  void handshake() const;

  Descriptor fd_;
  Range range_;
};

}  // namespace virtcft
