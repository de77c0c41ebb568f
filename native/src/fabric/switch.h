#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "channel.h"
#include "cut_log.h"
#include "edge.h"
#include "frame.h"
#include "gate.h"
#include "port.h"
#include "pressure.h"
#include "seal.h"
#include "tunnel.h"
#include "wire.h"

namespace virtcft::fabric {

struct Options {
  Id cluster{};
  uint8_t host = 0;
  /** Of this agent. */
  Id life{};
  std::shared_ptr<const Secret> secret;
  std::string address;
  uint16_t port = 0;
  std::string edge;  // empty: none
  size_t mtu = 1500;
  size_t heldOutputBytes = 0;
  int64_t heldOutputAge_us = 0;
  size_t portQueueFrames = 0;
};

struct PeerAt {
  uint8_t host = 0;
  /** The life of that host that was admitted: no other is heard. */
  Id life{};
  Endpoint endpoint;
};
struct Placement {
  Mac mac = 0;
  uint8_t host = 0;
};
/** What a port is: a TAP interface, or the two paths of a hypervisor's socket. */
struct PortAt {
  Mac nic = 0;
  std::string tap;  // empty: none
  std::string path;
  std::string peerPath;
};
struct Generation {
  uint64_t generation = 0;
  Id incarnation{};
  uint64_t colour = 0;
  std::vector<PeerAt> peers;
  std::vector<Placement> macs;
  /** From this generation on; else as before. */
  std::optional<size_t> mtu;
  std::optional<size_t> heldOutputBytes;
};

struct Event {
  enum class Kind { NewerColour, ForeignGeneration, OutputBound };
  Kind kind;
  /** The colour, or the generation. */
  uint64_t number;
  int from;
  Pressure pressure;
};

struct Stats {
  struct OfPort {
    Mac nic;
    uint64_t received, receivedBytes, sent, sentBytes, dropped;
    int64_t stopped_us;  // for how long it was not read
  };
  struct OfPeer {
    uint8_t host;
    int64_t heard_us;  // when, monotonic
    uint64_t received = 0, receivedBytes = 0, sent = 0, sentBytes = 0;
    uint64_t late = 0, early = 0, lost = 0, duplicates = 0, forged = 0;
  };
  uint64_t colour = 0, generation = 0;
  uint64_t heldOutputFrames = 0, heldOutputBytes = 0, releasedFrames = 0;
  Pressure pressure = Pressure::Free;
  uint64_t throttled = 0, filled = 0;
  uint64_t droppedForeign = 0, droppedForged = 0, droppedLife = 0, droppedReplayed = 0, droppedQueue = 0, earlyHeld = 0, lateLogged = 0;
  std::vector<OfPort> ports;
  std::vector<OfPeer> peers;
};

using ChannelReply = std::function<void(Failure, std::vector<LoggedFrame>, std::vector<int> down)>;

/** Tells the event loop which descriptors to watch. */
class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void Watch(Port& port, bool reading) = 0;
  virtual void Unwatch(Port& port) = 0;
};

/**
 * The coloured switch of one host (R4-R8): everything but the waiting. One thread calls it. After any call `Flush` sends what was
 * queued; `NextDeadline` says when `OnTimer` is due.
 */
class Switch {
 public:
  Switch(const Options& options, std::unique_ptr<Tunnel> tunnel, std::unique_ptr<Edge> edge, Watcher& watcher);

  // Orders of the agent (native/index.d.ts says what each means).
  Failure AddPort(const PortAt& at);
  Failure RemovePort(Mac nic);
  void SetGeneration(const Generation& generation, std::optional<uint64_t> keepOutputUpTo);
  void Hold();
  void Drain();
  void Flip(uint64_t epoch);
  void Release();
  void AskChannelState(uint64_t epoch, int64_t timeout_us, ChannelReply reply);
  Released ReleaseOutput(uint64_t epoch);
  void SetPassThrough(bool pass);
  Failure Inject(const std::vector<LoggedFrame>& frames);
  Failure Announce(Mac nic, std::optional<uint32_t> ip);
  /** Fails what still waits. */
  void Abandon(const Failure& why);

  // The loop.
  void OnPort(Port& port);
  void OnTunnel();
  void OnEdge();
  void OnTimer();
  void Flush();
  int64_t NextDeadline() const;
  Stats Snapshot() const;
  std::vector<Event> TakeEvents() { return std::exchange(events_, {}); }
  Tunnel& tunnel() { return *tunnel_; }
  Edge* edge() { return edge_.get(); }
  const std::map<Mac, std::unique_ptr<Port>>& ports() const { return ports_; }

 private:
  struct Peer {
    Endpoint endpoint;
    Id life{};
    Channel channel;
    uint64_t lastHello = 0;
    std::map<uint64_t, int64_t> foreign_us;  // generation -> when its event was sent
    Stats::OfPeer counted{};                 // lost: in the generations before
  };
  /** A frame that waits between hold and release. */
  struct Held {
    /** Port: still to be switched, from `nic`. Local: to be delivered to `nic`. Outside: too, and of no cut. */
    enum class From { Port, Local, Outside };
    From from;
    Mac nic;
    uint64_t colour;
    FrameRef frame;
  };
  struct Question {
    uint64_t epoch;
    int64_t deadline_us;
    ChannelReply reply;
  };

  bool Acceptable(Port& port, const Bytes& frame) const;
  void FromPort(Port& port, FrameRef frame);
  void Forward(Mac from, uint64_t colour, const FrameRef& frame);
  void ToOutside(Mac from, uint64_t colour, const FrameRef& frame);
  void ToPeer(Peer& peer, uint64_t colour, const FrameRef& frame);
  void ToLocal(Mac nic, uint64_t colour, const FrameRef& frame);
  void Deliver(Mac nic, const FrameRef& frame);
  void Park(Held held);
  void EachLocal(Mac destination, Mac except, const std::function<void(Mac)>& visit) const;
  void FromOutside(FrameRef frame);
  size_t mtu() const { return maxFrame_ - kEthernetHeaderBytes - kVlanTagBytes; }
  bool OfCluster(Mac mac) const { return ports_.contains(mac) || placement_.contains(mac); }

  void FromTunnel(Peer& peer, const Datagram& datagram);
  void FromWire(const uint8_t* at, size_t bytes);
  bool Authentic(const Claim& claim, const uint8_t* at, size_t bytes);
  bool Belongs(Peer& peer, const Header& header);
  void HelloFrom(Peer& peer, uint64_t number);
  void FrameFrom(Peer& peer, const Datagram& datagram);
  void Arrived(uint64_t colour, const FrameRef& frame);
  Header NewHeader(Kind kind, uint8_t to) const;
  void SendMarkers();
  void SendHellos();

  void ReadPorts();
  /** Parked frames of the local VMs go their way with the colour that they have; those for VMs of this host stay parked. */
  void ForwardParked();
  void SetMtu(size_t mtu);
  void AdmitEarly();
  void AnswerQuestions();
  void ForgetGeneration();
  /** Looks anew at how full the gate is and which ports are read. */
  void Room();
  void SetReading(Port& port, bool reading, int64_t now_us);
  void Refill(int64_t now_us);

  const Options options_;
  size_t maxFrame_;
  OutputBound bound_;
  std::unique_ptr<Tunnel> tunnel_;
  std::unique_ptr<Edge> edge_;
  Watcher& watcher_;
  Batch portBatch_;
  Batch tunnelBatch_;

  std::map<Mac, std::unique_ptr<Port>> ports_;
  std::map<uint8_t, Peer> peers_;
  std::unordered_map<Mac, uint8_t> placement_;
  uint64_t generation_ = 0;
  Id incarnation_{};
  Key key_{};
  uint64_t session_;
  uint64_t hellos_ = 0;
  uint64_t colour_ = 0;
  uint64_t told_ = 0;  // the newest colour an event was sent for

  bool holding_ = false;
  int64_t drained_us_ = 0;  // since when all guests stand still, or 0
  std::deque<Held> held_;
  size_t heldBytes_ = 0;
  std::map<uint64_t, std::vector<FrameRef>> early_;
  size_t earlyBytes_ = 0;
  CutLog log_;
  std::vector<Question> questions_;
  int64_t nextLook_us_ = INT64_MAX;

  Gate gate_;
  bool passThrough_ = false;
  Pressure pressure_ = Pressure::Free;
  int64_t nextRefill_us_ = 0;

  int64_t nextHello_us_ = 0;
  std::vector<Event> events_;
  uint64_t released_ = 0, throttled_ = 0, filled_ = 0;
  uint64_t droppedForeign_ = 0, droppedForged_ = 0, droppedLife_ = 0, droppedReplayed_ = 0, droppedQueue_ = 0, earlyHeld_ = 0, lateLogged_ = 0;
};

}  // namespace virtcft::fabric
