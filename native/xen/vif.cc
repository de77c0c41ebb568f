#include "vif.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <thread>

#include "failures.h"
#include "limits.h"

namespace virtcft::xen {

namespace {

using Clock = std::chrono::steady_clock;

bool within(int patience_ms, const std::function<bool()>& so) {
  for (const auto end = Clock::now() + std::chrono::milliseconds(patience_ms);;) {
    if (so()) return true;
    if (Clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

/** As xl calls it. Its exit code; -1 when it did not end in time, or could not be run. */
int runScript(const std::string& script, const char* turn, const std::string& backend, const std::string& device) {
  std::vector<std::string> words{script, turn, "type_if=vif"};
  std::vector<std::string> environment{"XENBUS_PATH=" + backend, "XENBUS_TYPE=vif", "XENBUS_BASE_PATH=backend", "vif=" + device, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  const auto pointers = [](std::vector<std::string>& texts) {
    std::vector<char*> all;
    for (std::string& text : texts) all.push_back(text.data());
    all.push_back(nullptr);
    return all;
  };
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  // Standard output is the session's.
  posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, script.c_str(), &files, nullptr, pointers(words).data(), pointers(environment).data());
  posix_spawn_file_actions_destroy(&files);
  if (failed != 0) {
    errno = failed;
    return -1;
  }
  int status = 0;
  if (!within(limits::kScriptPatience_ms, [&] { return ::waitpid(pid, &status, WNOHANG) == pid; })) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, &status, 0);
    errno = ETIMEDOUT;
    return -1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void writeAll(const Xen& xen, const std::vector<VifNode>& nodes) {
  for (;;) {
    const xs_transaction_t turn = xen.lib.xs_transaction_start(xen.store);
    bool good = turn != XBT_NULL;
    for (size_t i = 0; good && i < nodes.size(); i++) {
      const VifNode& node = nodes[i];
      if (node.folder) {
        xs_permissions access[2] = {{node.owner, XS_PERM_NONE}, {node.reader, XS_PERM_READ}};
        good = xen.lib.xs_mkdir(xen.store, turn, node.path.c_str()) && xen.lib.xs_set_permissions(xen.store, turn, node.path.c_str(), access, 2);
      } else {
        good = xen.lib.xs_write(xen.store, turn, node.path.c_str(), node.value.data(), static_cast<unsigned>(node.value.size()));
      }
    }
    if (!good) {
      const int why = errno;
      if (turn != XBT_NULL) xen.lib.xs_transaction_end(xen.store, turn, true);
      errno = why;
      refused("write a network interface into xenstore");
    }
    if (xen.lib.xs_transaction_end(xen.store, turn, false)) return;
    if (errno != EAGAIN) refused("write a network interface into xenstore");
  }
}

}  // namespace

std::string plugVif(const Xen& xen, uint32_t domain, const Vif& vif) {
  const std::string back = vifBackend(domain, vif.device), device = "vif" + std::to_string(domain) + "." + std::to_string(vif.device);
  writeAll(xen, vifNodes(domain, vif));
  // InitWait: the device is there, and waits for the script and for the guest.
  if (!within(limits::kBackendPatience_ms, [&] { return xen.read(back + "/state") == "2"; })) {
    throw Failure(code::kXen, "dom0 gives no " + device + " within " + std::to_string(limits::kBackendPatience_ms / 1000) + " s: is its module xen-netback loaded?");
  }
  errno = 0;
  const int ended = runScript(vif.script, "online", back, device);
  if (ended < 0) failWith(code::kXen, "run " + vif.script);
  const std::string status = xen.read(back + "/hotplug-status");
  if (ended != 0 || status != "connected") {
    throw Failure(code::kXen, vif.script + " did not tie " + device + " (it ended with " + std::to_string(ended) + (status.empty() ? "" : ", " + status) + "): " + xen.read(back + "/hotplug-error"));
  }
  return device;
}

void unplugVifs(const Xen& xen, uint32_t domain) {
  unsigned count = 0;
  const std::string folder = "/local/domain/0/backend/vif/" + std::to_string(domain);
  char** devices = xen.lib.xs_directory(xen.store, XBT_NULL, folder.c_str(), &count);
  for (unsigned i = 0; devices && i < count; i++) {
    const std::string back = folder + "/" + devices[i], script = xen.read(back + "/script");
    if (!script.empty()) runScript(script, "offline", back, "vif" + std::to_string(domain) + "." + devices[i]);
  }
  ::free(devices);
}

}  // namespace virtcft::xen
