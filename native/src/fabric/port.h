#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "frame.h"
#include "socket.h"

namespace virtcft::fabric {

/**
 * One NIC of a local VM: two unix datagram sockets. One is bound at `path` and receives; the other is connected to the hypervisor's
 * `peerPath` and sends. Two, because a connected socket takes datagrams from its peer alone, and would refuse a restarted hypervisor.
 */
class Port {
 public:
  static std::unique_ptr<Port> Open(Mac nic, const std::string& path, const std::string& peerPath, size_t queueFrames, Failure& failure);
  ~Port();
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  /** Queues for the guest; a full queue drops and counts. */
  void Deliver(FrameRef frame);
  /** Ahead of all that is queued, in the given order, and kept until the hypervisor is there. */
  void Inject(const std::vector<FrameRef>& frames);
  /** Sends what the guest's socket takes. */
  void Flush(int64_t now_us);
  /** Every frame accepted for this guest that it may not have taken: lying in its socket, in the hypervisor, in the queue; oldest first. It stopped at `stopped_us`. */
  void ForEachUntaken(int64_t stopped_us, const std::function<void(const FrameRef&)>& visit) const;
  /** Forgets queued frames and throws away what the guest sent (its generation is over). */
  void Discard(Batch& batch);

  Mac nic() const { return nic_; }
  int receiver() const { return receiver_.get(); }
  int sender() const { return sender_.get(); }
  /** The queue waits for room in the guest's socket. */
  bool blocked() const { return blocked_; }
  /** When to try again a hypervisor that is not there, or 0. */
  int64_t retry_us() const { return retry_us_; }

  uint64_t received = 0;
  uint64_t sent = 0;
  uint64_t dropped = 0;

 private:
  struct Queued {
    FrameRef frame;
    bool keep;
  };
  struct Handed {
    FrameRef frame;
    int64_t at_us;
  };
  Port(Mac nic, std::string path, std::string peerPath, size_t queueFrames);
  bool Connect();
  /** A frame to an unplugged NIC is lost (counted); injected frames wait. */
  void WaitForHypervisor(int64_t now_us);
  void Handing(FrameRef frame, int64_t now_us);

  Mac nic_;
  std::string path_;
  std::string peerPath_;
  size_t queueFrames_;
  Descriptor receiver_;
  Descriptor sender_;
  bool connected_ = false;
  bool blocked_ = false;
  int64_t retry_us_ = 0;
  std::deque<Queued> queue_;
  /** The last frames given to the hypervisor: as many as its socket can hold, and one. */
  std::deque<Handed> handed_;
  size_t handedKept_;
};

}  // namespace virtcft::fabric
