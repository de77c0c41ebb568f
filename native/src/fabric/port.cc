#include "port.h"

#include "limits.h"

namespace virtcft::fabric {

void Port::Deliver(FrameRef frame) {
  if (queue_.size() >= queueFrames_) {
    dropped++;
    return;
  }
  queue_.push_back({std::move(frame), false});
}

void Port::Inject(const std::vector<FrameRef>& frames) {
  for (auto it = frames.rbegin(); it != frames.rend(); ++it) queue_.push_front({*it, true});
  blocked_ = false;
  handed_.clear();
}

void Port::Handing(int64_t now_us) {
  FrameRef& frame = queue_.front().frame;
  sent++;
  sentBytes += frame->size();
  handed_.push_back({std::move(frame), now_us});
  queue_.pop_front();
  if (handed_.size() > handedKept_) handed_.pop_front();
}

void Port::WaitForGuest(int64_t now_us) {
  while (!queue_.empty() && !queue_.front().keep) {
    dropped++;
    queue_.pop_front();
  }
  if (!queue_.empty()) retry_us_ = now_us + kPortRetryUs;
}

void Port::Discard(Batch& batch) {
  queue_.clear();
  handed_.clear();
  blocked_ = false;
  retry_us_ = 0;
  while (Receive(batch) > 0) {
  }
}

}  // namespace virtcft::fabric
