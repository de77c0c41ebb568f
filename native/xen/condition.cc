#include "condition.h"

namespace virtcft::xen {

namespace {

// Of Xen's public/sched.h, which is not everywhere where this is built and tested.
constexpr uint32_t kReboot = 1, kSuspend = 2, kWatchdog = 4;

}  // namespace

const char* nameOf(Condition condition) {
  switch (condition) {
    case Condition::kRunning: return "running";
    case Condition::kSuspended: return "suspended";
    case Condition::kOff: return "off";
    case Condition::kRebooting: return "rebooting";
    case Condition::kCrashed: return "crashed";
    case Condition::kGone: return "gone";
  }
  return "unknown";
}

Condition conditionOf(const DomainFlags& flags) {
  if (flags.dying) return Condition::kGone;
  // libxenctrl takes the other flag back where the reason is a crash.
  if (flags.crashed) return Condition::kCrashed;
  if (!flags.shutdown) return Condition::kRunning;
  switch (flags.reason) {
    case kReboot: return Condition::kRebooting;
    case kSuspend: return Condition::kSuspended;
    case kWatchdog: return Condition::kCrashed;
    default: return Condition::kOff;
  }
}

}  // namespace virtcft::xen
