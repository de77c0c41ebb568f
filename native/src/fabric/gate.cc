#include "gate.h"

#include <algorithm>

namespace virtcft::fabric {

void Gate::Hold(uint64_t colour, FrameRef frame, int64_t now_us) {
  bytes_ += frame->size();
  held_.push_back({colour, now_us, std::move(frame)});
}

Released Gate::Release(uint64_t upTo, int64_t now_us, const std::function<void(FrameRef)>& sink) {
  Released released;
  // Colours only rise along the queue, so what may leave is a prefix.
  while (!held_.empty() && held_.front().colour <= upTo) {
    Held& head = held_.front();
    released.frames++;
    released.bytes += head.frame->size();
    released.oldest_us = std::max(released.oldest_us, now_us - head.since_us);
    bytes_ -= head.frame->size();
    sink(std::move(head.frame));
    held_.pop_front();
  }
  return released;
}

void Gate::Drop() {
  held_.clear();
  bytes_ = 0;
}

}  // namespace virtcft::fabric
