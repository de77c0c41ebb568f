#pragma once

#include <memory>
#include <string>

#include "port.h"

namespace virtcft::fabric {

/**
 * A port to a TAP interface of the host, for guests whose NIC is a kernel interface (a vif on a bridge of its own). Frames handed over
 * are in the kernel's hands, which does not say what was taken: those of the last `kHandedUs` count as not taken, a duplicate is legal.
 */
class TapPort final : public Port {
 public:
  /** Opens the interface, or makes it (it is then gone when the port is: it fails closed), with no offloads, of this MTU, and up. */
  static std::unique_ptr<Port> Open(Mac nic, const std::string& tap, size_t mtu, size_t queueFrames, Failure& failure);
  size_t Receive(Batch& batch) override;
  void Flush(int64_t now_us) override;
  void ForEachUntaken(int64_t stopped_us, const std::function<void(const FrameRef&)>& visit) const override;
  /** The interface was taken away: an epoll that watched it on would spin. */
  void Failed() override;

 private:
  TapPort(Mac nic, size_t queueFrames);
};

}  // namespace virtcft::fabric
