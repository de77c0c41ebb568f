// Xen's libraries, opened when they are needed: the program starts, and says what is missing, on a machine without Xen.
#pragma once
#include <memory>
#include <string>

#include "xen_api.h"

namespace virtcft::xen {

inline constexpr uint32_t kXenMajor = 4, kXenMinor = 17;

#define VIRTCFT_XEN_CONTROL(F)                                                                                                                       \
  F(xc_interface_open) F(xc_interface_close) F(xc_version) F(xc_domain_getinfo) F(xc_domain_maximum_gpfn) F(xc_get_pfn_type_batch)                    \
  F(xc_shadow_control) F(xc_logdirty_control) F(xc__hypercall_buffer_alloc_pages) F(xc__hypercall_buffer_free_pages) F(xc_domain_hvm_getcontext)      \
  F(xc_hvm_param_get) F(xc_hvm_param_set) F(xc_domain_get_tsc_info) F(xc_domain_create) F(xc_domain_max_vcpus)           \
  F(xc_domain_setmaxmem) F(xc_get_paging_mempool_size) F(xc_set_paging_mempool_size) F(xc_evtchn_alloc_unbound) F(xc_domain_pause)                   \
  F(xc_domain_unpause) F(xc_domain_destroy) F(xc_gnttab_query_size) F(xc_gnttab_get_version)
#define VIRTCFT_XEN_GUEST(F)                                                                                                                          \
  F(xc_domain_resume) F(xc_domain_restore) F(xc_dom_gnttab_seed) F(xc_cpu_policy_init) F(xc_cpu_policy_destroy) F(xc_cpu_policy_get_domain)           \
  F(xc_cpu_policy_get_size) F(xc_cpu_policy_serialise)
#define VIRTCFT_XEN_FOREIGN(F)                                                                                                                        \
  F(xenforeignmemory_open) F(xenforeignmemory_close) F(xenforeignmemory_map) F(xenforeignmemory_unmap) F(xenforeignmemory_map_resource)               \
  F(xenforeignmemory_unmap_resource)
#define VIRTCFT_XEN_STORE(F)                                                                                                                          \
  F(xs_open) F(xs_close) F(xs_read) F(xs_write) F(xs_mkdir) F(xs_rm) F(xs_directory) F(xs_set_permissions) F(xs_watch) F(xs_check_watch) F(xs_fileno) \
  F(xs_introduce_domain) F(xs_resume_domain) F(xs_transaction_start) F(xs_transaction_end)

/** Failure ENOXEN when a library is missing, EVERSION when it lacks a call. */
class Libraries {
 public:
  Libraries();
#define VIRTCFT_XEN_DECLARE(name) decltype(&::name) name = nullptr;
  VIRTCFT_XEN_CONTROL(VIRTCFT_XEN_DECLARE)
  VIRTCFT_XEN_GUEST(VIRTCFT_XEN_DECLARE)
  VIRTCFT_XEN_FOREIGN(VIRTCFT_XEN_DECLARE)
  VIRTCFT_XEN_STORE(VIRTCFT_XEN_DECLARE)
#undef VIRTCFT_XEN_DECLARE
};

/** The running hypervisor and xenstore. Failure ENOXEN where there is none, EVERSION where it is another than this was built for. */
class Xen {
 public:
  Xen();
  ~Xen();
  Xen(const Xen&) = delete;
  Xen& operator=(const Xen&) = delete;

  const Libraries lib;
  xc_interface* control = nullptr;
  xenforeignmemory_handle* foreign = nullptr;
  xs_handle* store = nullptr;
  /** As `xl info` has it: 4.17.5. */
  std::string version;
  std::string capabilities;

  /** Empty optional where there is no such node. */
  std::string read(const std::string& path, bool* found = nullptr) const;
  void write(const std::string& path, const std::string& value) const;
};

/** Failure EXEN: `doing` was refused, with errno. */
[[noreturn]] void refused(const std::string& doing);

}  // namespace virtcft::xen
