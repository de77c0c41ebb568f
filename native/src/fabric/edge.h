#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "frame.h"
#include "socket.h"

namespace virtcft::fabric {

/** The gate's outside: a promiscuous packet socket on one interface; frames bypass the host's own IP stack and bridges. */
class Edge {
 public:
  static std::unique_ptr<Edge> Open(const std::string& interface, Failure& failure);
  /** Queued without bound: only released output comes here, and it must not be lost. */
  void Send(FrameRef frame) { queue_.push_back(std::move(frame)); }
  void Flush(int64_t now_us);
  /** One batch of frames from outside, segmented and with complete checksums. Returns how many datagrams were read. */
  size_t Receive(const std::function<void(FrameRef)>& take, size_t maxFrame);
  int fd() const { return socket_.get(); }
  bool blocked() const { return blocked_; }
  int64_t retry_us() const { return retry_us_; }
  uint64_t dropped = 0;

 private:
  explicit Edge(Descriptor socket);
  Descriptor socket_;
  Batch batch_;
  std::deque<FrameRef> queue_;
  bool blocked_ = false;
  int64_t retry_us_ = 0;
};

}  // namespace virtcft::fabric
