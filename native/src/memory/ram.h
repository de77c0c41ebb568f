// The guest's RAM file (tmpfs), mapped shared by the hypervisor and by us.
#pragma once
#include <functional>
#include <string>

#include "descriptor.h"
#include "page.h"

namespace virtcft {

/**
 * A hole of the file reads as zero, but reading it through the mapping would allocate it: in a lazily filled VM that would hide the page
 * from the fault handler. So pages are only touched where the file holds data (`eachData`), or when they are known to be written.
 */
class GuestRam {
 public:
  GuestRam(const std::string& path, size_t bytes);
  ~GuestRam();
  GuestRam(const GuestRam&) = delete;
  GuestRam& operator=(const GuestRam&) = delete;

  size_t pages() const { return bytes_ / kPageBytes; }
  uint8_t* page(PageNumber number) const { return map_ + size_t{number} * kPageBytes; }
  /** Runs of pages that the file holds, rising: first, count. */
  void eachData(const std::function<void(PageNumber, size_t)>& run) const { eachDataIn(0, pages(), run); }
  /** The same, within pages [first, first + count). */
  void eachDataIn(PageNumber first, size_t count, const std::function<void(PageNumber, size_t)>& run) const;
  bool isHole(PageNumber number) const;
  /** The pages become holes: missing for the processes that map the file. */
  void punch(PageNumber first, size_t count) const;
  /** Device and inode, to find the mapping in another process. */
  uint64_t device() const { return device_; }
  uint64_t inode() const { return inode_; }

 private:
  Descriptor fd_;
  size_t bytes_;
  uint8_t* map_ = nullptr;
  uint64_t device_ = 0;
  uint64_t inode_ = 0;
};

}  // namespace virtcft
