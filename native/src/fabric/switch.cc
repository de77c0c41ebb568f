#include "switch.h"

#include <sys/random.h>

#include <algorithm>

#include "announcement.h"
#include "limits.h"

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
      tunnel_(std::move(tunnel)),
      edge_(std::move(edge)),
      watcher_(watcher),
      portBatch_(kBatchFrames, maxFrame_ + 1),
      tunnelBatch_(kBatchFrames, maxFrame_ + kMaxHeaderBytes + 1),
      session_(RandomSession()) {}

Failure Switch::AddPort(Mac nic, const std::string& path, const std::string& peerPath) {
  if (ports_.contains(nic)) return {"EEXIST", "the fabric has a port for this NIC already; remove it first"};
  Failure failure;
  auto port = Port::Open(nic, path, peerPath, options_.portQueueFrames, failure);
  if (!port) return failure;
  watcher_.Watch(*port, reading_);
  ports_.emplace(nic, std::move(port));
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
  if (!reading_) return;
  const size_t count = portBatch_.Receive(port.receiver());
  for (size_t i = 0; i < count; i++) FromPort(port, MakeFrame(portBatch_.at(i), portBatch_.bytes(i)));
}

void Switch::FromPort(Port& port, FrameRef frame) {
  port.received++;
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
    ToOutside(colour, frame);
    return;
  }
  if (ports_.contains(destination)) return;
  const auto placed = placement_.find(destination);
  if (placed == placement_.end()) return ToOutside(colour, frame);
  const auto peer = peers_.find(placed->second);
  if (peer == peers_.end()) droppedQueue_++;  // a VM without a port here, or on a host that is not wired
  else ToPeer(peer->second, colour, frame);
}

void Switch::ToPeer(Peer& peer, uint64_t colour, const FrameRef& frame) {
  Header header = NewHeader(Kind::Frame);
  header.colour = colour;
  header.sequence = peer.channel.NextSequence();
  tunnel_->Send(peer.endpoint, header, frame);
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

void Switch::ToOutside(uint64_t colour, const FrameRef& frame) {
  if (!edge_) return;
  if (passThrough_) {
    released_++;
    edge_->Send(frame);
    return;
  }
  gate_.Hold(colour, frame, Now());
  if (!full_ && gate_.bytes() >= options_.heldOutputBytes) {
    full_ = true;
    events_.push_back({Event::Kind::OutputBound, 0, options_.host, true});
    Room();
  }
}

void Switch::Room() {
  if (full_ && gate_.bytes() < options_.heldOutputBytes / 2) {
    full_ = false;
    events_.push_back({Event::Kind::OutputBound, 0, options_.host, false});
  }
  const bool reading = !full_ && heldBytes_ <= kHeldBytes;
  if (reading == reading_) return;
  reading_ = reading;
  for (const auto& [nic, port] : ports_) watcher_.Watch(*port, reading_);
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
  for (const auto& [nic, port] : ports_) {
    if (port->retry_us() != 0) next = std::min(next, port->retry_us());
  }
  if (edge_ && edge_->retry_us() != 0) next = std::min(next, edge_->retry_us());
  return next;
}

void Switch::OnTimer() {
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
  stats.droppedForeign = droppedForeign_;
  stats.droppedQueue = droppedQueue_ + tunnel_->dropped + (edge_ ? edge_->dropped : 0) + log_.overflowed();
  stats.earlyHeld = earlyHeld_;
  stats.lateLogged = lateLogged_;
  for (const auto& [nic, port] : ports_) stats.ports.push_back({nic, port->received, port->sent, port->dropped});
  for (const auto& [host, peer] : peers_) stats.peers.push_back({host, peer.heard_us});
  return stats;
}

}  // namespace virtcft::fabric
