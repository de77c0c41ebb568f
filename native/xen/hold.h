// Who holds a domain, written down in xenstore, so that a guest that a killed holder left standing is found and goes on.
#pragma once
#include <string>
#include <vector>

#include "libraries.h"

namespace virtcft::xen {

/** `kStopping`: its suspend was ordered, or it stands for a capture. `kPaused`: it stands because its user wants so. */
enum class HoldStage { kRunning, kStopping, kPaused };

/** A process as the kernel tells it apart from a later one of the same number; empty when there is none. */
std::string processMark(int pid);

class Hold {
 public:
  /** ESTATE when a living process holds the domain. */
  Hold(const Xen& xen, uint32_t id);
  /** Lets go. */
  ~Hold();
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  void stage(HoldStage stage);

 private:
  const Xen& xen_;
  std::string path_;
};

struct Abandoned {
  uint32_t id;
  std::string name;
  /** `resumed`, `running`: nothing had to be done, `paused`: by its user, left so, `ended`: no domain that could go on. */
  std::string found;
};

/** Frees every domain whose holder is dead; a guest that stands for a capture runs again. */
std::vector<Abandoned> releaseAbandoned(const Xen& xen);

}  // namespace virtcft::xen
