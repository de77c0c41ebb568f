#include "hold.h"

#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "domain.h"
#include "failures.h"

namespace virtcft::xen {

namespace {

const char* nameOf(HoldStage stage) {
  switch (stage) {
    case HoldStage::kRunning: return "running";
    case HoldStage::kStopping: return "stopping";
    case HoldStage::kPaused: return "paused";
  }
  return "running";
}

bool alive(const std::string& holder) {
  const int pid = std::atoi(holder.c_str());
  return pid > 0 && processMark(pid) == holder;
}

/** The guest may be on its way into a suspend that nobody waits for any more. */
bool stands(const Xen& xen, const Domain& domain, const std::string& order) {
  using Clock = std::chrono::steady_clock;
  int patience_ms = limits::kAbandonedPatience_ms;
  if (domain.condition() == Condition::kRunning && xen.read(order) == "suspend") {
    xen.write(order, "");  // not yet seen by the guest: withdrawn; seen this moment: it will stand soon
    patience_ms /= 5;
  }
  const auto end = Clock::now() + std::chrono::milliseconds(patience_ms);
  while (domain.condition() == Condition::kRunning && Clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  return domain.condition() == Condition::kSuspended;
}

Abandoned release(const Xen& xen, uint32_t id, const std::string& stage) {
  const std::string base = "/local/domain/" + std::to_string(id);
  Abandoned abandoned{id, xen.read(base + "/name"), "ended"};
  try {
    Domain domain(xen, id);
    if (domain.condition() == Condition::kRunning || domain.condition() == Condition::kSuspended) {
      abandoned.found = "running";
      if (stage == nameOf(HoldStage::kPaused)) {
        abandoned.found = "paused";
      } else if (stage == nameOf(HoldStage::kStopping) && stands(xen, domain, base + "/control/shutdown")) {
        domain.resume();
        abandoned.found = "resumed";
      }
      domain.forgetWrites();
    }
  } catch (const Failure& failure) {
    if (!failure.is(code::kNoDomain)) throw;
  }
  return abandoned;
}

}  // namespace

std::string processMark(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const size_t name = text.rfind(')');  // a name may hold anything, also spaces
  if (name == std::string::npos) return {};
  std::istringstream rest(text.substr(name + 1));
  std::string word;
  for (int field = 3; field <= 22 && rest >> word; field++) {
    if (field == 3 && word == "Z") return {};
  }
  return std::to_string(pid) + " " + word;
}

Hold::Hold(const Xen& xen, uint32_t id) : xen_(xen), path_("/virtcft/" + std::to_string(id)) {
  const std::string holder = xen.read(path_ + "/holder");
  if (!holder.empty() && alive(holder)) throw Failure(virtcft::code::kState, "domain " + std::to_string(id) + " is held by process " + std::to_string(std::atoi(holder.c_str())) + ": end that one first");
  xen.write(path_ + "/stage", nameOf(HoldStage::kRunning));
  xen.write(path_ + "/holder", processMark(::getpid()));
}

Hold::~Hold() { xen_.lib.xs_rm(xen_.store, XBT_NULL, path_.c_str()); }

void Hold::stage(HoldStage stage) { xen_.write(path_ + "/stage", nameOf(stage)); }

std::vector<Abandoned> releaseAbandoned(const Xen& xen) {
  std::vector<Abandoned> all;
  unsigned count = 0;
  char** ids = xen.lib.xs_directory(xen.store, XBT_NULL, "/virtcft", &count);
  for (unsigned i = 0; i < count; i++) {
    const std::string path = "/virtcft/" + std::string(ids[i]);
    if (alive(xen.read(path + "/holder"))) continue;
    all.push_back(release(xen, static_cast<uint32_t>(std::strtoul(ids[i], nullptr, 10)), xen.read(path + "/stage")));
    xen.lib.xs_rm(xen.store, XBT_NULL, path.c_str());
  }
  ::free(ids);
  return all;
}

}  // namespace virtcft::xen
