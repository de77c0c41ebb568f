#include "builder.h"

#include <csignal>
#include <thread>

#include "domain.h"
#include "failures.h"
#include "vif.h"

namespace virtcft::xen {

namespace {

/** Feeds Xen's reader: it may stop reading at any byte, which is its own error to tell. */
class Feed {
 public:
  explicit Feed(int to) : to_(to) {}
  void bytes(const void* from, size_t count) {
    const auto* at = static_cast<const uint8_t*>(from);
    while (count > 0 && !refused_) {
      const ssize_t written = ::write(to_, at, count);
      if (written < 0 && errno != EINTR) refused_ = true;
      if (written > 0) {
        at += written;
        count -= static_cast<size_t>(written);
      }
    }
  }

 private:
  int to_;
  bool refused_ = false;
};

void feedMemory(Feed& feed, const DeviceState& state, const DomainMemory& memory, uint64_t epoch) {
  const MemoryMap map{state.pages};
  std::vector<Gfn> gfns;
  Bytes contents;
  const auto flush = [&] {
    if (gfns.empty()) return;
    Bytes head;
    stream::pagesHead(head, gfns);
    feed.bytes(head.data(), head.size());
    feed.bytes(contents.data(), contents.size());
    gfns.clear();
    contents.clear();
  };
  size_t range = 0;
  memory.each(epoch, [&](PageNumber page, const uint8_t* bytes) {
    while (range < state.present.size() && page >= state.present[range].first + state.present[range].count) range++;
    if (range == state.present.size() || page < state.present[range].first) return;
    gfns.push_back(map.gfnOf(page));
    contents.insert(contents.end(), bytes, bytes + kPageBytes);
    if (gfns.size() == limits::kBatchPages) flush();
  });
  flush();
}

/** The nodes that a PVH guest and xl look for. */
class Nodes {
 public:
  Nodes(const Xen& xen, uint32_t id) : xen_(xen), id_(id), base_("/local/domain/" + std::to_string(id)) { directory("", false); }
  void value(const std::string& name, const std::string& text) { xen_.write(base_ + "/" + name, text); }
  /** The guest may read it, or write it where it is its `own`. */
  void directory(const std::string& name, bool own) {
    const std::string path = name.empty() ? base_ : base_ + "/" + name;
    xs_permissions own_[1] = {{id_, XS_PERM_NONE}}, shown[2] = {{0, XS_PERM_NONE}, {id_, XS_PERM_READ}};
    if (!xen_.lib.xs_mkdir(xen_.store, XBT_NULL, path.c_str()) || !xen_.lib.xs_set_permissions(xen_.store, XBT_NULL, path.c_str(), own ? own_ : shown, own ? 1 : 2)) refused("make " + path + " in xenstore");
  }

 private:
  const Xen& xen_;
  uint32_t id_;
  std::string base_;
};

void introduce(const Xen& xen, uint32_t id, const std::string& name, const DeviceState& state, uint64_t storeFrame, int storePort, uint64_t consoleFrame, int consolePort) {
  Nodes nodes(xen, id);
  const std::string memory = std::to_string(state.pages * (kPageBytes / 1024));
  nodes.value("name", name);
  nodes.value("domid", std::to_string(id));
  for (const char* shown : {"memory", "cpu", "control", "device", "store", "console"}) nodes.directory(shown, false);
  nodes.value("memory/target", memory);
  nodes.value("memory/static-max", memory);
  for (uint32_t vcpu = 0; vcpu < state.vcpus; vcpu++) nodes.value("cpu/" + std::to_string(vcpu) + "/availability", "online");
  for (const char* own : {"control/shutdown", "control/sysrq", "control/feature-poweroff", "control/feature-reboot", "control/feature-suspend", "data", "drivers", "feature", "attr", "error"}) nodes.directory(own, true);
  nodes.value("control/platform-feature-multiprocessor-suspend", "1");
  nodes.value("control/platform-feature-xs_reset_watches", "1");
  nodes.value("store/port", std::to_string(storePort));
  nodes.value("store/ring-ref", std::to_string(storeFrame));
  nodes.value("console/type", "xenconsoled");
  nodes.value("console/output", "pty");
  nodes.value("console/limit", "1048576");
  nodes.value("console/port", std::to_string(consolePort));
  nodes.value("console/ring-ref", std::to_string(consoleFrame));
  xen.write("/libxl/" + std::to_string(id) + "/type", "pvh");
  if (!xen.lib.xs_introduce_domain(xen.store, id, storeFrame, static_cast<unsigned>(storePort))) refused("introduce domain " + std::to_string(id) + " to xenstore");
}

uint32_t createEmpty(const Xen& xen, const DeviceState& state) {
  xen_domctl_createdomain config{};
  config.flags = XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap;
  config.max_vcpus = state.vcpus;
  config.max_evtchn_port = 1023;
  config.max_grant_frames = -1;
  config.max_maptrack_frames = -1;
  config.grant_opts = XEN_DOMCTL_GRANT_version(2);
  config.arch.emulation_flags = XEN_X86_EMU_LAPIC;
  config.arch.misc_flags = state.miscFlags;
  std::memcpy(config.handle, state.uuid.data(), sizeof config.handle);
  uint32_t id = 0;
  if (xen.lib.xc_domain_create(xen.control, &id, &config) != 0) refused("create a domain");
  return id;
}

/** Restores count what is missing; nothing of ours is. */
int staticDataDone(unsigned missing, void*) { return (missing & XGR_SDD_MISSING_CPUID) ? -1 : 0; }

void load(const Xen& xen, uint32_t id, const std::string& name, const DeviceState& state, const DomainMemory& memory, uint64_t epoch) {
  const auto must = [](int result, const char* doing) {
    if (result < 0) refused(doing);
    return result;
  };
  must(xen.lib.xc_domain_max_vcpus(xen.control, id, state.vcpus), "give a domain its vCPUs");
  must(xen.lib.xc_domain_setmaxmem(xen.control, id, state.mostMemory_kib), "give a domain its memory");
  must(xen.lib.xc_set_paging_mempool_size(xen.control, id, state.paging_bytes), "give a domain room for its page tables: is memory free on this host (xl info)?");
  const int storePort = must(xen.lib.xc_evtchn_alloc_unbound(xen.control, id, 0), "make an event channel");
  const int consolePort = must(xen.lib.xc_evtchn_alloc_unbound(xen.control, id, 0), "make an event channel");
  must(xen.lib.xc_hvm_param_set(xen.control, id, HVM_PARAM_STORE_EVTCHN, static_cast<uint64_t>(storePort)), "set the event channel of xenstore");
  must(xen.lib.xc_hvm_param_set(xen.control, id, HVM_PARAM_CONSOLE_EVTCHN, static_cast<uint64_t>(consolePort)), "set the event channel of the console");

  int ends[2];
  if (::pipe(ends) != 0) failWith(virtcft::code::kIo, "make a pipe");
  std::exception_ptr failed;
  std::thread feeder([&] {
    try {
      Feed feed(ends[1]);
      feed.bytes(state.head.data(), state.head.size());
      feedMemory(feed, state, memory, epoch);
      feed.bytes(state.tail.data(), state.tail.size());
    } catch (...) {
      failed = std::current_exception();
    }
    ::close(ends[1]);
  });
  restore_callbacks callbacks{};
  callbacks.static_data_done = staticDataDone;
  unsigned long storeFrame = 0, consoleFrame = 0;
  const int restored = xen.lib.xc_domain_restore(xen.control, ends[0], id, static_cast<unsigned>(storePort), &storeFrame, 0, static_cast<unsigned>(consolePort), &consoleFrame, 0, XC_STREAM_PLAIN, &callbacks, -1);
  const int why = errno;
  ::close(ends[0]);
  feeder.join();
  if (failed) std::rethrow_exception(failed);
  if (restored != 0) failWith(code::kXen, "Xen refused the restored domain (is memory free on this host: xl info? was it captured on a host with the same processor?)", why);
  must(xen.lib.xc_dom_gnttab_seed(xen.control, id, true, consoleFrame, storeFrame, 0, 0), "grant the pages of xenstore and console");
  introduce(xen, id, name, state, storeFrame, storePort, consoleFrame, consolePort);
}

}  // namespace

uint32_t buildDomain(const Xen& xen, const std::string& name, const DeviceState& state, const DomainMemory& memory, uint64_t epoch) {
  if (state.pages != memory.pages()) badState("it is of a guest with " + std::to_string(state.pages) + " pages, the memory has " + std::to_string(memory.pages()));
  for (const DomainInfo& domain : listDomains(xen)) {
    if (domain.name == name && domain.condition != Condition::kGone) throw Failure(virtcft::code::kState, "there is a domain " + name + " already: number " + std::to_string(domain.id));
  }
  // A reader that gave up must be an error, not the end of this program.
  std::signal(SIGPIPE, SIG_IGN);
  const uint32_t id = createEmpty(xen, state);
  try {
    load(xen, id, name, state, memory, epoch);
  } catch (...) {
    destroyDomain(xen, id);
    throw;
  }
  return id;
}

void destroyDomain(const Xen& xen, uint32_t id) {
  xc_dominfo_t info;
  if (xen.lib.xc_domain_getinfo(xen.control, id, 1, &info) != 1 || info.domid != id) return;
  const std::string number = std::to_string(id);
  const std::string vm = xen.read("/local/domain/" + number + "/vm");
  unplugVifs(xen, id);
  if (xen.lib.xc_domain_destroy(xen.control, id) != 0) refused("destroy domain " + number);
  unsigned count = 0;
  if (char** kinds = xen.lib.xs_directory(xen.store, XBT_NULL, "/local/domain/0/backend", &count)) {
    for (unsigned i = 0; i < count; i++) xen.lib.xs_rm(xen.store, XBT_NULL, ("/local/domain/0/backend/" + std::string(kinds[i]) + "/" + number).c_str());
    ::free(kinds);
  }
  for (const std::string& path : {"/local/domain/" + number, "/libxl/" + number, "/virtcft/" + number, vm}) {
    if (!path.empty()) xen.lib.xs_rm(xen.store, XBT_NULL, path.c_str());
  }
}

}  // namespace virtcft::xen
