#include "domain.h"

#include <poll.h>

#include <algorithm>
#include <chrono>

#include "failures.h"
#include "grants.h"

namespace virtcft::xen {

namespace {

using Clock = std::chrono::steady_clock;
constexpr const char* kSuspendWatch = "virtcft-suspend";

Condition conditionOf(const xc_dominfo_t& info) { return conditionOf(DomainFlags{info.dying != 0, info.crashed != 0, info.shutdown != 0, info.shutdown_reason}); }

bool isPvh(const xc_dominfo_t& info) { return info.hvm && info.arch_config.emulation_flags == XEN_X86_EMU_LAPIC; }

std::string nameIn(const Xen& xen, uint32_t id) { return xen.read("/local/domain/" + std::to_string(id) + "/name"); }

DomainInfo infoOf(const Xen& xen, const xc_dominfo_t& info) {
  return {info.domid, nameIn(xen, info.domid), isPvh(info), info.paused != 0, conditionOf(info), info.max_vcpu_id + 1, info.max_memkb};
}

}  // namespace

std::vector<DomainInfo> listDomains(const Xen& xen) {
  std::vector<DomainInfo> domains;
  xc_dominfo_t some[64];
  for (uint32_t next = 1;;) {
    const int count = xen.lib.xc_domain_getinfo(xen.control, next, 64, some);
    if (count < 0 && errno != ESRCH) refused("list domains");
    for (int i = 0; i < count; i++) domains.push_back(infoOf(xen, some[i]));
    if (count < 64) return domains;  // also where there was none (ESRCH)
    next = some[count - 1].domid + 1;
  }
}

DomainInfo findDomain(const Xen& xen, const std::string& nameOrId) {
  for (DomainInfo& domain : listDomains(xen)) {
    if ((domain.name == nameOrId || std::to_string(domain.id) == nameOrId) && domain.condition != Condition::kGone) return domain;
  }
  throw Failure(code::kNoDomain, "there is no domain " + nameOrId + ": `virtcft-xen list` shows those that are");
}

Domain::Domain(const Xen& xen, uint32_t id) : xen_(xen), id_(id) {
  if (xen.lib.xc_domain_getinfo(xen.control, id, 1, &info_) != 1 || info_.domid != id) throw Failure(code::kNoDomain, "there is no domain " + std::to_string(id));
  if (!info_.hvm) {
    throw Failure(code::kDomain, "domain " + std::to_string(id) + " is paravirtualized (PV): its pages can be logged only by a Xen with CONFIG_SHADOW_PAGING, which Debian's has not, and this version "
                                 "does not capture it there either. Use type=\"pvh\"");
  }
  if (!isPvh(info_)) throw Failure(code::kDomain, "domain " + std::to_string(id) + " has emulated devices (HVM): the state of its device model is not captured. Use type=\"pvh\"");
  if (info_.max_vcpu_id >= limits::kMostVcpus) throw Failure(code::kDomain, "domain " + std::to_string(id) + " has more than " + std::to_string(limits::kMostVcpus) + " vCPUs");
  const std::string most = xen.read("/local/domain/" + std::to_string(id) + "/memory/static-max");
  map_.pages = std::strtoull(most.c_str(), nullptr, 10) / (kPageBytes / 1024);
  if (map_.pages == 0 || map_.pages > kMaxPages) throw Failure(code::kDomain, "domain " + std::to_string(id) + " has no size of memory in xenstore (memory/static-max): was it made by xl?");
  findSpecialPages();
}

Domain::~Domain() {
  if (log_) xen_.lib.xc__hypercall_buffer_free_pages(xen_.control, &logBuffer_, logPages_);
}

Condition Domain::condition() const {
  xc_dominfo_t info;
  if (xen_.lib.xc_domain_getinfo(xen_.control, id_, 1, &info) != 1 || info.domid != id_) return Condition::kGone;
  return conditionOf(info);
}

void Domain::eachExisting(Gfn first, uint64_t count, const std::function<void(Gfn)>& exists) const {
  xen_pfn_t types[limits::kBatchPages];
  for (Gfn at = first, end = first + count; at < end;) {
    const auto batch = static_cast<unsigned>(std::min<uint64_t>(end - at, limits::kBatchPages));
    for (unsigned i = 0; i < batch; i++) types[i] = at + i;
    if (xen_.lib.xc_get_pfn_type_batch(xen_.control, id_, batch, types) != 0) refused("tell which pages domain " + std::to_string(id_) + " has");
    for (unsigned i = 0; i < batch; i++) {
      const auto type = types[i] & XEN_DOMCTL_PFINFO_LTAB_MASK;
      if (type != XEN_DOMCTL_PFINFO_XTAB && type != XEN_DOMCTL_PFINFO_BROKEN && type != XEN_DOMCTL_PFINFO_XALLOC) exists(at + i);
    }
    at += batch;
  }
}

void Domain::findSpecialPages() {
  special_.clear();
  // The log's bits end with RAM: pages outside are few, and copied at every capture.
  frames_ = map_.end();
  eachExisting(limits::kSpecialFirst, limits::kHighFirst - limits::kSpecialFirst, [&](Gfn gfn) {
    special_.push_back(gfn);
    if (special_.size() > limits::kMostSpecialPages) throw Failure(code::kDomain, "domain " + std::to_string(id_) + " has more than " + std::to_string(limits::kMostSpecialPages) + " pages outside its RAM");
  });
}

void Domain::present(std::vector<bool>& pages) {
  pages.assign(map_.pages, false);
  const auto set = [&](Gfn gfn) { pages[*map_.pageOf(gfn)] = true; };
  eachExisting(0, std::min(map_.pages, limits::kLowPages), set);
  if (map_.pages > limits::kLowPages) eachExisting(limits::kHighFirst, map_.pages - limits::kLowPages, set);
}

void Domain::watchWrites() {
  if (!log_) {
    logPages_ = static_cast<int>((frames_ / 8 + kPageBytes) / kPageBytes);
    logBuffer_.ubuf = reinterpret_cast<void*>(-1);
    log_ = static_cast<uint64_t*>(xen_.lib.xc__hypercall_buffer_alloc_pages(xen_.control, &logBuffer_, logPages_));
    if (!log_) throw Failure(virtcft::code::kNoMemory, "no memory for the log of written pages");
  }
  if (xen_.lib.xc_shadow_control(xen_.control, id_, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, nullptr, 0) < 0) {
    // Somebody's log, a migration's or that of a holder that was killed: what it has is all that can be wanted.
    if (errno != EEXIST && errno != EINVAL) refused("log the pages that domain " + std::to_string(id_) + " writes");
    if (xen_.lib.xc_shadow_control(xen_.control, id_, XEN_DOMCTL_SHADOW_OP_OFF, nullptr, 0) < 0 || xen_.lib.xc_shadow_control(xen_.control, id_, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, nullptr, 0) < 0) {
      refused("begin the log of domain " + std::to_string(id_) + "'s writes anew");
    }
  }
}

void Domain::forgetWrites() { xen_.lib.xc_shadow_control(xen_.control, id_, XEN_DOMCTL_SHADOW_OP_OFF, nullptr, 0); }

void Domain::takeWritten(const std::function<void(PageNumber)>& written) {
  xc_shadow_op_stats_t counts{};
  std::memset(log_, 0, static_cast<size_t>(logPages_) * kPageBytes);
  if (xen_.lib.xc_logdirty_control(xen_.control, id_, XEN_DOMCTL_SHADOW_OP_CLEAN, &logBuffer_, frames_, 0, &counts) < 0) refused("read the log of domain " + std::to_string(id_) + "'s writes");
  for (Gfn word = 0; word <= frames_ / 64; word++) {
    for (uint64_t bits = log_[word]; bits != 0; bits &= bits - 1) {
      if (const auto page = map_.pageOf(word * 64 + static_cast<unsigned>(__builtin_ctzll(bits)))) written(*page);
    }
  }
}

void Domain::read(std::span<const PageNumber> pages, const std::function<void(PageNumber, const uint8_t*)>& each) {
  xen_pfn_t frames[limits::kBatchPages];
  int errors[limits::kBatchPages];
  for (size_t at = 0; at < pages.size(); at += limits::kBatchPages) {
    const size_t count = std::min(pages.size() - at, limits::kBatchPages);
    for (size_t i = 0; i < count; i++) frames[i] = map_.gfnOf(pages[at + i]);
    auto* content = static_cast<uint8_t*>(xen_.lib.xenforeignmemory_map(xen_.foreign, id_, PROT_READ, count, frames, errors));
    if (!content) refused("map pages of domain " + std::to_string(id_));
    for (size_t i = 0; i < count; i++) each(pages[at + i], errors[i] == 0 ? content + i * kPageBytes : nullptr);
    xen_.lib.xenforeignmemory_unmap(xen_.foreign, content, count);
  }
}

std::vector<PageNumber> Domain::foreign() {
  std::vector<PageNumber> pages;
  if (condition() == Condition::kGone) return pages;
  for (const uint64_t frame : mappedByOthers()) {
    if (const auto page = map_.pageOf(frame)) pages.push_back(*page);
  }
  return pages;
}

std::vector<uint64_t> Domain::mappedByOthers() const {
  gnttab_query_size size{};
  size.dom = static_cast<domid_t>(id_);
  if (xen_.lib.xc_gnttab_query_size(xen_.control, &size) != 0 || size.status != GNTST_okay) refused("tell the size of the grant table of domain " + std::to_string(id_));
  if (size.nr_frames == 0) return {};
  // Linux takes version 2 only where a frame's number needs more than 32 bits.
  if (xen_.lib.xc_gnttab_get_version(xen_.control, id_) != 1) throw Failure(code::kDomain, "domain " + std::to_string(id_) + " has a grant table of version 2, whose entries this version does not read");
  void* table = nullptr;
  auto* mapped = xen_.lib.xenforeignmemory_map_resource(xen_.foreign, static_cast<domid_t>(id_), XENMEM_resource_grant_table, XENMEM_resource_grant_table_id_shared, 0, size.nr_frames, &table, PROT_READ, 0);
  if (!mapped) refused("map the grant table of domain " + std::to_string(id_));
  const std::vector<uint64_t> frames = framesMappedForWriting({static_cast<const GrantEntry*>(table), size.nr_frames * kPageBytes / sizeof(GrantEntry)});
  xen_.lib.xenforeignmemory_unmap_resource(xen_.foreign, mapped);
  return frames;
}

void Domain::suspend(int patience_ms) {
  if (condition() != Condition::kRunning) {
    if (condition() == Condition::kGone) throw Failure(code::kNoDomain, "domain " + std::to_string(id_) + " is gone");
    return;
  }
  const std::string order = "/local/domain/" + std::to_string(id_) + "/control/shutdown";
  xen_.lib.xs_watch(xen_.store, "@releaseDomain", kSuspendWatch);
  xen_.write(order, "suspend");
  const auto end = Clock::now() + std::chrono::milliseconds(patience_ms);
  for (;;) {
    const Condition now = condition();
    if (now == Condition::kGone) throw Failure(code::kNoDomain, "domain " + std::to_string(id_) + " is gone");
    if (now != Condition::kRunning) return;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) break;
    pollfd waiting{xen_.lib.xs_fileno(xen_.store), POLLIN, 0};
    ::poll(&waiting, 1, static_cast<int>(std::min<int64_t>(left, 100)));
    while (char** event = xen_.lib.xs_check_watch(xen_.store)) ::free(event);
  }
  xen_.write(order, "");
  throw Failure(code::kSuspend, "domain " + std::to_string(id_) + " did not suspend within " + std::to_string(patience_ms / 1000) + " s: does its kernel have Xen's drivers (CONFIG_XEN), and is it alive?");
}

void Domain::resume() {
  if (condition() != Condition::kSuspended) return;
  if (xen_.lib.xc_domain_resume(xen_.control, id_, 1) != 0) refused("resume domain " + std::to_string(id_));
  // Without it xenstored tells nobody of the next suspend.
  xen_.lib.xs_resume_domain(xen_.store, id_);
}

void Domain::policy(Bytes& head) const {
  struct Free {
    const Libraries& lib;
    void operator()(xc_cpu_policy_t* policy) const { lib.xc_cpu_policy_destroy(policy); }
  };
  const std::unique_ptr<xc_cpu_policy_t, Free> policy(xen_.lib.xc_cpu_policy_init(), Free{xen_.lib});
  uint32_t leafCount = 0, msrCount = 0;
  if (!policy || xen_.lib.xc_cpu_policy_get_domain(xen_.control, id_, policy.get()) != 0 || xen_.lib.xc_cpu_policy_get_size(xen_.control, &leafCount, &msrCount) != 0) refused("tell the processor of domain " + std::to_string(id_));
  std::vector<xen_cpuid_leaf_t> leaves(leafCount);
  std::vector<xen_msr_entry_t> msrs(msrCount);
  if (xen_.lib.xc_cpu_policy_serialise(xen_.control, policy.get(), leaves.data(), &leafCount, msrs.data(), &msrCount) != 0) refused("tell the processor of domain " + std::to_string(id_));
  stream::record(head, RecordType::kCpuidPolicy, {reinterpret_cast<const uint8_t*>(leaves.data()), leafCount * sizeof leaves[0]});
  if (msrCount > 0) stream::record(head, RecordType::kMsrPolicy, {reinterpret_cast<const uint8_t*>(msrs.data()), msrCount * sizeof msrs[0]});
}

DeviceState Domain::state(const std::vector<bool>& present) {
  DeviceState state;
  state.vcpus = info_.max_vcpu_id + 1;
  state.pages = map_.pages;
  state.mostMemory_kib = info_.max_memkb;
  state.miscFlags = info_.arch_config.misc_flags;
  std::memcpy(state.uuid.data(), info_.handle, sizeof info_.handle);
  if (xen_.lib.xc_get_paging_mempool_size(xen_.control, id_, &state.paging_bytes) != 0) refused("tell the page table pool of domain " + std::to_string(id_));
  state.present = rangesOf(present);

  stream::begin(state.head, kXenMajor, kXenMinor);
  policy(state.head);
  stream::record(state.head, RecordType::kStaticDataEnd, {});

  if (!special_.empty()) {
    std::vector<int> errors(special_.size());
    std::vector<Gfn> there;
    Bytes contents;
    auto* content = static_cast<uint8_t*>(xen_.lib.xenforeignmemory_map(xen_.foreign, id_, PROT_READ, special_.size(), reinterpret_cast<const xen_pfn_t*>(special_.data()), errors.data()));
    if (!content) refused("map pages of domain " + std::to_string(id_));
    for (size_t i = 0; i < special_.size(); i++) {
      if (errors[i] != 0) continue;
      there.push_back(special_[i]);
      contents.insert(contents.end(), content + i * kPageBytes, content + (i + 1) * kPageBytes);
    }
    xen_.lib.xenforeignmemory_unmap(xen_.foreign, content, special_.size());
    if (!there.empty()) {
      stream::pagesHead(state.tail, there);
      state.tail.insert(state.tail.end(), contents.begin(), contents.end());
    }
  }

  stream::TscInfo tsc{};
  if (xen_.lib.xc_domain_get_tsc_info(xen_.control, id_, &tsc.mode, &tsc.elapsed_ns, &tsc.khz, &tsc.incarnation) != 0) refused("tell the clock of domain " + std::to_string(id_));
  stream::tscInfo(state.tail, tsc);

  const int bytes = xen_.lib.xc_domain_hvm_getcontext(xen_.control, id_, nullptr, 0);
  if (bytes <= 0) refused("tell the processors of domain " + std::to_string(id_));
  Bytes context(static_cast<size_t>(bytes));
  const int got = xen_.lib.xc_domain_hvm_getcontext(xen_.control, id_, context.data(), static_cast<uint32_t>(bytes));
  if (got <= 0) refused("tell the processors of domain " + std::to_string(id_));
  stream::record(state.tail, RecordType::kHvmContext, std::span(context).first(static_cast<size_t>(got)));

  // Those that libxenguest carries for a domain without a device model.
  static constexpr uint32_t kParams[] = {HVM_PARAM_STORE_PFN, HVM_PARAM_IOREQ_PFN, HVM_PARAM_BUFIOREQ_PFN, HVM_PARAM_PAGING_RING_PFN, HVM_PARAM_MONITOR_RING_PFN, HVM_PARAM_SHARING_RING_PFN,
                                         HVM_PARAM_VM86_TSS_SIZED, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_ACPI_IOPORTS_LOCATION, HVM_PARAM_VIRIDIAN, HVM_PARAM_IDENT_PT, HVM_PARAM_VM_GENERATION_ID_ADDR,
                                         HVM_PARAM_IOREQ_SERVER_PFN, HVM_PARAM_NR_IOREQ_SERVER_PAGES, HVM_PARAM_X87_FIP_WIDTH, HVM_PARAM_MCA_CAP};
  std::vector<stream::HvmParam> params;
  for (const uint32_t index : kParams) {
    uint64_t value = 0;
    if (xen_.lib.xc_hvm_param_get(xen_.control, id_, index, &value) != 0) refused("tell a parameter of domain " + std::to_string(id_));
    if (value != 0) params.push_back({index, value});
  }
  stream::hvmParams(state.tail, params);
  stream::record(state.tail, RecordType::kEnd, {});
  return state;
}

}  // namespace virtcft::xen
