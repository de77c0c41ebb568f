#pragma once

#include <memory>
#include <string>

#include "port.h"

namespace virtcft::fabric {

/**
 * A port to a hypervisor's unix datagram socket: one socket is bound at `path` and receives; the other is connected to the hypervisor's
 * `peerPath` and sends. Two, because a connected socket takes datagrams from its peer alone, and would refuse a restarted hypervisor.
 */
class SocketPort final : public Port {
 public:
  static std::unique_ptr<Port> Open(Mac nic, const std::string& path, const std::string& peerPath, size_t queueFrames, Failure& failure);
  ~SocketPort() override;
  void Inject(const std::vector<FrameRef>& frames) override;
  size_t Receive(Batch& batch) override { return batch.Receive(receiver_.get()); }
  void Flush(int64_t now_us) override;
  /** Lying in the guest's socket, in the hypervisor, in the queue. */
  void ForEachUntaken(int64_t stopped_us, const std::function<void(const FrameRef&)>& visit) const override;
  void Discard(Batch& batch) override;

 private:
  SocketPort(Mac nic, std::string path, std::string peerPath, size_t queueFrames);
  bool Connect();

  const std::string path_;
  const std::string peerPath_;
  bool connected_ = false;
};

}  // namespace virtcft::fabric
