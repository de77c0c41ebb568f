#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "frame.h"

namespace virtcft::fabric {

struct LoggedFrame {
  Mac nic;
  FrameRef frame;
};

/** The channel state of every open cut (R6). A cut is open from the own flip until its log is taken, or pushed out by newer ones. */
class CutLog {
 public:
  /** Opens cuts first..last (the newest kOpenCuts of them). */
  void Open(uint64_t first, uint64_t last);
  /** To every open cut in first..last. Returns to how many it was logged. */
  size_t Log(uint64_t first, uint64_t last, Mac nic, const FrameRef& frame);
  bool IsOpen(uint64_t cut) const { return cuts_.contains(cut); }
  /** Closes the cut. */
  std::vector<LoggedFrame> Take(uint64_t cut);
  void Clear() { cuts_.clear(); }
  /** Frames that a full log did not take. */
  uint64_t overflowed() const { return overflowed_; }

 private:
  struct Cut {
    std::vector<LoggedFrame> frames;
    size_t bytes = 0;
  };
  std::map<uint64_t, Cut> cuts_;
  uint64_t overflowed_ = 0;
};

}  // namespace virtcft::fabric
