// A running PVH domain: its written pages, its suspend and its records.
#pragma once
#include <optional>
#include <string>

#include "condition.h"
#include "device_state.h"
#include "domain_memory.h"
#include "libraries.h"

namespace virtcft::xen {

struct DomainInfo {
  uint32_t id;
  std::string name;
  bool pvh;
  bool paused;
  Condition condition;
  uint32_t vcpus;
  uint64_t memory_kib;
};

/** All domains but dom0. */
std::vector<DomainInfo> listDomains(const Xen& xen);
/** By name or number; ENODOMAIN. */
DomainInfo findDomain(const Xen& xen, const std::string& nameOrId);

class Domain : public PageSource {
 public:
  /** Looks at the domain without touching it. EDOMAIN with the reason where it cannot be protected. */
  Domain(const Xen& xen, uint32_t id);
  ~Domain() override;
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;

  uint32_t id() const { return id_; }
  const MemoryMap& map() const { return map_; }
  Condition condition() const;

  /** Written pages are logged from now on. Does nothing when they are already. */
  void watchWrites();
  void forgetWrites();

  /**
   * The guest's own suspend: returns when it stands, whole and able to be restored anywhere. ESUSPEND when it does not answer in `patience_ms`; its
   * order is then withdrawn. Nothing to do for a domain that has ended.
   */
  void suspend(int patience_ms);
  /** Undoes a suspend, at once; the guest sees one that was cancelled. */
  void resume();

  void present(std::vector<bool>& pages) override;
  void takeWritten(const std::function<void(PageNumber)>& written) override;
  void read(std::span<const PageNumber> pages, const std::function<void(PageNumber, const uint8_t*)>& each) override;
  std::vector<PageNumber> foreign() override;

  /** All but RAM. While the domain stands still. */
  DeviceState state(const std::vector<bool>& present);

 private:
  void findSpecialPages();
  void policy(Bytes& head) const;
  /** Rings of devices, while their back ends have them. */
  std::vector<uint64_t> mappedByOthers() const;
  /** Types of frames in batches; `exists` is asked for those that hold memory. */
  void eachExisting(Gfn first, uint64_t count, const std::function<void(Gfn)>& exists) const;

  const Xen& xen_;
  uint32_t id_;
  MemoryMap map_;
  xc_dominfo_t info_{};
  std::vector<Gfn> special_;  // outside RAM
  Gfn frames_ = 0;            // bits of the log
  xc_hypercall_buffer_t logBuffer_{};
  uint64_t* log_ = nullptr;
  int logPages_ = 0;
};

}  // namespace virtcft::xen
