#pragma once

#include <cstdint>
#include <deque>
#include <functional>

#include "frame.h"

namespace virtcft::fabric {

struct Released {
  uint64_t frames = 0;
  uint64_t bytes = 0;
  /** Age of the oldest frame that left. */
  int64_t oldest_us = 0;
};

/** Output that waits for its commit, in order, tagged with the sender's colour (R8). Never drops by itself. */
class Gate {
 public:
  void Hold(uint64_t colour, FrameRef frame, int64_t now_us);
  /** Everything of colour <= `upTo` to `sink`, oldest first. */
  Released Release(uint64_t upTo, int64_t now_us, const std::function<void(FrameRef)>& sink);
  void Drop();
  size_t frames() const { return held_.size(); }
  size_t bytes() const { return bytes_; }
  /** When the oldest frame came, or 0. */
  int64_t since_us() const { return held_.empty() ? 0 : held_.front().since_us; }

 private:
  struct Held {
    uint64_t colour;
    int64_t since_us;
    FrameRef frame;
  };
  std::deque<Held> held_;
  size_t bytes_ = 0;
};

}  // namespace virtcft::fabric
