// What a domain does, or how it ended.
#pragma once
#include <cstdint>

namespace virtcft::xen {

enum class Condition { kRunning, kSuspended, kOff, kRebooting, kCrashed, kGone };
const char* nameOf(Condition condition);

/** A domain as libxenctrl tells of it (xc_dominfo_t). */
struct DomainFlags {
  bool dying, crashed, shutdown;
  /** Xen's public/sched.h: SHUTDOWN_poweroff and so on. */
  uint32_t reason;
};

Condition conditionOf(const DomainFlags& flags);

}  // namespace virtcft::xen
