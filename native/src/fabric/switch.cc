#include "switch.h"

#include <sys/random.h>

#include <algorithm>

#include "announcement.h"
#include "limits.h"
#include "socket_port.h"
#include "tap_port.h"

namespace virtcft::fabric {
namespace {

uint64_t RandomSession() {
  uint64_t session = 0;
  while (session == 0) {
    if (getrandom(&session, sizeof session, 0) != sizeof session) session = static_cast<uint64_t>(Now());
  }
  return session;
}

}  // namespace

Switch::Switch(const Options& options, std::unique_ptr<Tunnel> tunnel, std::unique_ptr<Edge> edge, Watcher& watcher)
    : options_(options),
      maxFrame_(options.mtu + kEthernetHeaderBytes + kVlanTagBytes),
      bound_(options.heldOutputBytes, options.heldOutputAge_us),
      tunnel_(std::move(tunnel)),
      edge_(std::move(edge)),
      watcher_(watcher),
      portBatch_(kBatchFrames, maxFrame_ + 1),
      tunnelBatch_(kBatchFrames, kHeaderBytes + maxFrame_ + kMacBytes + 1),
      session_(RandomSession()) {}

void Switch::SetMtu(size_t mtu) {
  maxFrame_ = mtu + kEthernetHeaderBytes + kVlanTagBytes;
  portBatch_ = Batch(kBatchFrames, maxFrame_ + 1);
  tunnelBatch_ = Batch(kBatchFrames, kHeaderBytes + maxFrame_ + kMacBytes + 1);
}

Failure Switch::AddPort(const PortAt& at) {
  if (ports_.contains(at.nic)) return {"EEXIST", "the fabric has a port for this NIC already; remove it first"};
  Failure failure;
  auto port = at.tap.empty() ? SocketPort::Open(at.nic, at.path, at.peerPath, options_.portQueueFrames, failure)
                             : TapPort::Open(at.nic, at.tap, mtu(), options_.portQueueFrames, failure);
  if (!port) return failure;
  watcher_.Watch(*port, true);
  ports_.emplace(at.nic, std::move(port));
  Room();
  return {};
}

Failure Switch::RemovePort(Mac nic) {
  const auto it = ports_.find(nic);
  if (it == ports_.end()) return {"ENOENT", "the fabric has no port for this NIC"};
  watcher_.Unwatch(*it->second);
  droppedQueue_ += it->second->dropped;
  ports_.erase(it);
  return {};
}

bool Switch::Acceptable(Port& port, const Bytes& frame) const {
  // Only its own address: the edges know the cluster's frames by their source.
  if (frame.size() >= kEthernetHeaderBytes && frame.size() <= maxFrame_ && SourceOf(frame) == port.nic()) return true;
  port.dropped++;
  return false;
}

void Switch::OnPort(Port& port) {
  if (!port.reading) return;
  const size_t count = port.Receive(portBatch_);
  for (size_t i = 0; i < count; i++) FromPort(port, MakeFrame(portBatch_.at(i), portBatch_.bytes(i)));
}

void Switch::FromPort(Port& port, FrameRef frame) {
  port.received++;
  port.receivedBytes += frame->size();
  if (!Acceptable(port, *frame)) return;
  if (holding_) Park({Held::From::Port, port.nic(), colour_, std::move(frame)});
  else Forward(port.nic(), colour_, frame);
}

void Switch::EachLocal(Mac destination, Mac except, const std::function<void(Mac)>& visit) const {
  if (!IsGroup(destination)) {
    if (destination != except && ports_.contains(destination)) visit(destination);
    return;
  }
  for (const auto& [nic, port] : ports_) {
    if (nic != except) visit(nic);
  }
}

void Switch::Forward(Mac from, uint64_t colour, const FrameRef& frame) {
  const Mac destination = DestinationOf(*frame);
  EachLocal(destination, from, [&](Mac nic) { ToLocal(nic, colour, frame); });
  if (IsGroup(destination)) {
    for (auto& [host, peer] : peers_) ToPeer(peer, colour, frame);
    ToOutside(from, colour, frame);
    return;
  }
  if (ports_.contains(destination)) return;
  const auto placed = placement_.find(destination);
  if (placed == placement_.end()) return ToOutside(from, colour, frame);
  const auto peer = peers_.find(placed->second);
  if (peer == peers_.end()) droppedQueue_++;  // a VM without a port here, or on a host that is not wired
  else ToPeer(peer->second, colour, frame);
}

void Switch::ToPeer(Peer& peer, uint64_t colour, const FrameRef& frame) {
  Header header = NewHeader(Kind::Frame, peer.counted.host);
  header.colour = colour;
  header.sequence = peer.channel.NextSequence();
  peer.counted.sent++;
  peer.counted.sentBytes += frame->size();
  tunnel_->Send(peer.endpoint, header, key_, frame);
}

void Switch::ToLocal(Mac nic, uint64_t colour, const FrameRef& frame) {
  if (holding_) Park({Held::From::Local, nic, colour, frame});
  else Deliver(nic, frame);
}

void Switch::Deliver(Mac nic, const FrameRef& frame) {
  const auto port = ports_.find(nic);
  if (port == ports_.end()) droppedQueue_++;
  else port->second->Deliver(frame);
}

void Switch::Park(Held held) {
  // Ports stop being read at the bound (Room); what comes over the network all the same is lost there.
  if (heldBytes_ > kHeldBytes && held.from != Held::From::Port) {
    droppedQueue_++;
    return;
  }
  heldBytes_ += held.frame->size();
  held_.push_back(std::move(held));
  if (heldBytes_ > kHeldBytes) Room();
}

void Switch::ToOutside(Mac from, uint64_t colour, const FrameRef& frame) {
  if (!edge_) return;
  if (passThrough_) {
    released_++;
    edge_->Send(frame);
    return;
  }
  gate_.Hold(colour, frame, Now());
  if (pressure_ == Pressure::Throttled) {
    const auto port = ports_.find(from);
    if (port != ports_.end()) port->second->allowance -= static_cast<int64_t>(frame->size());
  }
  if (pressure_ == Pressure::Throttled || bound_.Next(pressure_, gate_.bytes(), 0) != pressure_) Room();
}

void Switch::Room() {
  const int64_t now_us = Now();
  const Pressure next = bound_.Next(pressure_, gate_.bytes(), gate_.frames() == 0 ? 0 : now_us - gate_.since_us());
  if (next != pressure_) {
    if (next == Pressure::Full) filled_++;
    if (next == Pressure::Throttled) {
      throttled_++;
      for (const auto& [nic, port] : ports_) port->allowance = 0;
      Refill(now_us);
    }
    pressure_ = next;
    events_.push_back({Event::Kind::OutputBound, 0, options_.host, next});
  }
  const bool any = pressure_ != Pressure::Full && heldBytes_ <= kHeldBytes;
  for (const auto& [nic, port] : ports_) SetReading(*port, any && (pressure_ == Pressure::Free || port->allowance > 0), now_us);
}

void Switch::SetReading(Port& port, bool reading, int64_t now_us) {
  if (port.reading == reading) return;
  port.reading = reading;
  if (reading) port.stopped_us += now_us - port.stoppedSince_us;
  else port.stoppedSince_us = now_us;
  watcher_.Watch(port, reading);
}

/** What a port took beyond its allowance (frames are read in batches) it pays back. */
void Switch::Refill(int64_t now_us) {
  nextRefill_us_ = now_us + kThrottleUs;
  const int64_t most = bound_.Allowance(gate_.bytes(), ports_.size(), maxFrame_);
  for (const auto& [nic, port] : ports_) port->allowance = std::min(port->allowance + most, most);
}

Released Switch::ReleaseOutput(uint64_t epoch) {
  const Released released = gate_.Release(epoch, Now(), [&](FrameRef frame) { edge_->Send(std::move(frame)); });
  released_ += released.frames;
  Room();
  return released;
}

void Switch::SetPassThrough(bool pass) {
  passThrough_ = pass;
  if (pass) ReleaseOutput(UINT64_MAX);
}

void Switch::OnEdge() { edge_->Receive([&](FrameRef frame) { FromOutside(std::move(frame)); }, maxFrame_); }

void Switch::FromOutside(FrameRef frame) {
  if (OfCluster(SourceOf(*frame))) return;  // the cluster's own output, heard at another host's edge
  EachLocal(DestinationOf(*frame), 0, [&](Mac nic) {
    if (holding_) Park({Held::From::Outside, nic, colour_, frame});
    else Deliver(nic, frame);
  });
}

Failure Switch::Inject(const std::vector<LoggedFrame>& frames) {
  std::map<Mac, std::vector<FrameRef>> perNic;
  for (const LoggedFrame& logged : frames) {
    if (!ports_.contains(logged.nic)) return {"ENOENT", "channel state names a NIC that has no port here; add the port first"};
    if (logged.frame->size() < kEthernetHeaderBytes || logged.frame->size() > maxFrame_) {
      return {"EMSGSIZE", "channel state holds a frame of " + std::to_string(logged.frame->size()) + " bytes"};
    }
    perNic[logged.nic].push_back(logged.frame);
  }
  for (const auto& [nic, each] : perNic) ports_.at(nic)->Inject(each);
  return {};
}

Failure Switch::Announce(Mac nic, std::optional<uint32_t> ip) {
  if (!ports_.contains(nic)) return {"ENOENT", "only a NIC with a port on this host is announced"};
  for (const FrameRef& frame : Announcement(nic, ip)) {
    for (auto& [host, peer] : peers_) ToPeer(peer, colour_, frame);
    if (edge_) edge_->Send(frame);  // says nothing of the guest's state: needs no commit
  }
  return {};
}

void Switch::Flush() {
  const int64_t now_us = Now();
  for (const auto& [nic, port] : ports_) {
    if (!port->blocked() && (port->retry_us() == 0 || port->retry_us() <= now_us)) port->Flush(now_us);
  }
  if (!tunnel_->blocked()) tunnel_->Flush();
  if (edge_ && !edge_->blocked() && (edge_->retry_us() == 0 || edge_->retry_us() <= now_us)) edge_->Flush(now_us);
}

int64_t Switch::NextDeadline() const {
  int64_t next = nextLook_us_;
  if (!peers_.empty()) next = std::min(next, nextHello_us_);
  for (const auto& [host, peer] : peers_) next = std::min(next, peer.channel.NextMarker().value_or(INT64_MAX));
  if (pressure_ == Pressure::Throttled) next = std::min(next, nextRefill_us_);
  if (pressure_ != Pressure::Full && gate_.frames() > 0) next = std::min(next, gate_.since_us() + bound_.age_us());
  for (const auto& [nic, port] : ports_) {
    if (port->retry_us() != 0) next = std::min(next, port->retry_us());
  }
  if (edge_ && edge_->retry_us() != 0) next = std::min(next, edge_->retry_us());
  return next;
}

void Switch::OnTimer() {
  const int64_t now_us = Now();
  if (pressure_ == Pressure::Throttled && now_us >= nextRefill_us_) Refill(now_us);
  Room();
  SendMarkers();
  SendHellos();
  AnswerQuestions();
}

Stats Switch::Snapshot() const {
  Stats stats;
  stats.colour = colour_;
  stats.generation = generation_;
  stats.heldOutputFrames = gate_.frames();
  stats.heldOutputBytes = gate_.bytes();
  stats.releasedFrames = released_;
  stats.pressure = pressure_;
  stats.throttled = throttled_;
  stats.filled = filled_;
  stats.droppedForeign = droppedForeign_;
  stats.droppedForged = droppedForged_;
  stats.droppedLife = droppedLife_;
  stats.droppedReplayed = droppedReplayed_;
  stats.droppedQueue = droppedQueue_ + tunnel_->dropped + (edge_ ? edge_->dropped : 0) + log_.overflowed();
  stats.earlyHeld = earlyHeld_;
  stats.lateLogged = lateLogged_;
  const int64_t now_us = Now();
  for (const auto& [nic, port] : ports_) {
    const int64_t stopped_us = port->stopped_us + (port->reading ? 0 : now_us - port->stoppedSince_us);
    stats.ports.push_back({nic, port->received, port->receivedBytes, port->sent, port->sentBytes, port->dropped, stopped_us});
  }
  for (const auto& [host, peer] : peers_) {
    stats.peers.push_back(peer.counted);
    stats.peers.back().lost += peer.channel.missing();
  }
  return stats;
}

}  // namespace virtcft::fabric
