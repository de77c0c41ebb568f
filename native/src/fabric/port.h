#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "frame.h"
#include "socket.h"

namespace virtcft::fabric {

/** One NIC of a local VM: what the guest sends is read, what is for it is queued and handed over. How, its kinds say. */
class Port {
 public:
  virtual ~Port() = default;
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  /** Queues for the guest; a full queue drops and counts. */
  void Deliver(FrameRef frame);
  /** Ahead of all that is queued, in the given order, and kept until the guest's side is there. */
  virtual void Inject(const std::vector<FrameRef>& frames);
  /** Some of what the guest sent; 0 when nothing waits. */
  virtual size_t Receive(Batch& batch) = 0;
  /** Hands over what the guest's side takes. */
  virtual void Flush(int64_t now_us) = 0;
  /** Every frame accepted for this guest that it may not have taken, oldest first. It stopped at `stopped_us`. */
  virtual void ForEachUntaken(int64_t stopped_us, const std::function<void(const FrameRef&)>& visit) const = 0;
  /** The poll said that the guest's side failed. */
  virtual void Failed() {}
  /** Forgets queued frames and throws away what the guest sent (its generation is over). */
  virtual void Discard(Batch& batch);

  Mac nic() const { return nic_; }
  /** -1 once the port's device is gone. */
  int receiver() const { return receiver_.get(); }
  int sender() const { return sender_.get(); }
  /** The queue waits for room at the guest's side. */
  bool blocked() const { return blocked_; }
  /** When to try again a guest's side that is not there, or 0. */
  int64_t retry_us() const { return retry_us_; }

  uint64_t received = 0, receivedBytes = 0;
  uint64_t sent = 0, sentBytes = 0;
  uint64_t dropped = 0;

  // The switch's back-pressure: whether this port is read, how much it may still add to held output, how long it was not read.
  bool reading = true;
  int64_t allowance = 0;
  int64_t stopped_us = 0;
  int64_t stoppedSince_us = 0;

 protected:
  struct Queued {
    FrameRef frame;
    bool keep;
  };
  struct Handed {
    FrameRef frame;
    int64_t at_us;
  };
  Port(Mac nic, size_t queueFrames, size_t handedKept) : nic_(nic), queueFrames_(queueFrames), handedKept_(handedKept) {}
  /** The first queued frame was taken. */
  void Handing(int64_t now_us);
  /** Nobody is there: frames are lost as on an unplugged NIC (counted); injected ones wait. */
  void WaitForGuest(int64_t now_us);

  const Mac nic_;
  const size_t queueFrames_;
  const size_t handedKept_;
  Descriptor receiver_;
  Descriptor sender_;
  bool blocked_ = false;
  int64_t retry_us_ = 0;
  std::deque<Queued> queue_;
  /** The last frames handed over, as many as may lie unread at the guest's side. */
  std::deque<Handed> handed_;
};

}  // namespace virtcft::fabric
