#include "libraries.h"

#include <dlfcn.h>

#include "failures.h"

namespace virtcft::xen {

namespace {

void* open(const char* file) {
  void* library = ::dlopen(file, RTLD_NOW | RTLD_GLOBAL);
  if (!library) throw Failure(code::kNoXen, std::string("Xen's library cannot be opened (") + ::dlerror() + "): is this a Xen 4.17 dom0? Debian 12 and Ubuntu 24.04 have it in xen-utils");
  return library;
}

template <class Call>
void find(Call& call, void* library, const char* name, const char* file) {
  call = reinterpret_cast<Call>(::dlsym(library, name));
  if (!call) throw Failure(code::kVersion, std::string(file) + " has no " + name + ": it is of another version than this program was built for (4.17)");
}

}  // namespace

Libraries::Libraries() {
#define VIRTCFT_XEN_FIND(name) find(name, library, #name, file);
  const char* file = "libxenctrl.so.4.17";
  void* library = open(file);
  VIRTCFT_XEN_CONTROL(VIRTCFT_XEN_FIND)
  library = open(file = "libxenguest.so.4.17");
  VIRTCFT_XEN_GUEST(VIRTCFT_XEN_FIND)
  library = open(file = "libxenforeignmemory.so.1");
  VIRTCFT_XEN_FOREIGN(VIRTCFT_XEN_FIND)
  library = open(file = "libxenstore.so.4");
  VIRTCFT_XEN_STORE(VIRTCFT_XEN_FIND)
#undef VIRTCFT_XEN_FIND
}

void refused(const std::string& doing) { failWith(code::kXen, "Xen refused to " + doing); }

Xen::Xen() {
  control = lib.xc_interface_open(nullptr, nullptr, 0);
  if (!control) throw Failure(code::kNoXen, "there is no Xen to talk to: this must run in dom0, as root");
  const int running = lib.xc_version(control, XENVER_version, nullptr);
  xen_extraversion_t extra{};
  xen_capabilities_info_t able{};
  if (running < 0 || lib.xc_version(control, XENVER_extraversion, &extra) < 0 || lib.xc_version(control, XENVER_capabilities, &able) < 0) {
    throw Failure(code::kNoXen, "Xen does not say its version: this must run in dom0, as root");
  }
  const uint32_t major = static_cast<uint32_t>(running) >> 16, minor = static_cast<uint32_t>(running) & 0xffff;
  version = std::to_string(major) + "." + std::to_string(minor) + extra;
  capabilities = able;
  if (major != kXenMajor || minor != kXenMinor) {
    throw Failure(code::kVersion, "the running Xen is " + version + ", this program is for " + std::to_string(kXenMajor) + "." + std::to_string(kXenMinor) + ": Xen's control interface differs between versions");
  }
  foreign = lib.xenforeignmemory_open(nullptr, 0);
  if (!foreign) failWith(code::kNoXen, "guests' memory cannot be mapped (/dev/xen/privcmd)");
  store = lib.xs_open(0);
  if (!store) failWith(code::kNoXen, "xenstore does not answer: is xenstored running?");
}

Xen::~Xen() {
  if (store) lib.xs_close(store);
  if (foreign) lib.xenforeignmemory_close(foreign);
  if (control) lib.xc_interface_close(control);
}

std::string Xen::read(const std::string& path, bool* found) const {
  unsigned bytes = 0;
  void* value = lib.xs_read(store, XBT_NULL, path.c_str(), &bytes);
  if (found) *found = value != nullptr;
  if (!value) return {};
  std::string text(static_cast<char*>(value), bytes);
  ::free(value);
  return text;
}

void Xen::write(const std::string& path, const std::string& value) const {
  if (!lib.xs_write(store, XBT_NULL, path.c_str(), value.data(), static_cast<unsigned>(value.size()))) refused("write " + path + " into xenstore");
}

}  // namespace virtcft::xen
