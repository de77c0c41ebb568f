// The tunnel's side of the switch: what peers send, and what is sent to them.
#include <algorithm>

#include "limits.h"
#include "switch.h"

namespace virtcft::fabric {

void Switch::OnTunnel() {
  const size_t count = tunnelBatch_.Receive(tunnel_->fd());
  for (size_t i = 0; i < count; i++) {
    const auto datagram = ParseDatagram(tunnelBatch_.at(i), tunnelBatch_.bytes(i), maxFrame_);
    if (datagram) FromTunnel(*datagram);
    else droppedForeign_++;
  }
  AnswerQuestions();
}

/** I3: a datagram of another cluster, generation or incarnation says nothing here. */
bool Switch::Belongs(const Datagram& datagram) {
  const Header& header = datagram.header;
  const auto found = peers_.find(header.source);
  if (header.cluster != options_.cluster || found == peers_.end()) return false;
  Peer& peer = found->second;
  const int64_t now_us = Now();
  peer.heard_us = now_us;  // alive, whatever it believes
  if (header.generation == generation_ && header.incarnation == incarnation_) return peer.channel.InSession(header.session);
  std::erase_if(peer.foreign_us, [&](const auto& told) { return now_us - told.second >= kForeignEventUs; });
  if (peer.foreign_us.size() < kForeignEvents && peer.foreign_us.try_emplace(header.generation, now_us).second) {
    events_.push_back({Event::Kind::ForeignGeneration, header.generation, header.source, false});
  }
  return false;
}

void Switch::FromTunnel(const Datagram& datagram) {
  if (!Belongs(datagram)) {
    droppedForeign_++;
    return;
  }
  const Header& header = datagram.header;
  Peer& peer = peers_.at(header.source);
  if (header.colour > std::max(colour_, told_)) {
    told_ = header.colour;
    events_.push_back({Event::Kind::NewerColour, header.colour, header.source, false});
  }
  switch (header.kind) {
    case Kind::Hello: return;
    case Kind::Ack:
      if (header.echo == session_) peer.channel.Acknowledged(header.cut);
      return;
    case Kind::Marker: {
      peer.channel.MarkerSeen(header.cut, header.sequence, Now());
      Header ack = NewHeader(Kind::Ack);
      ack.cut = header.cut;
      ack.echo = header.session;
      tunnel_->Send(peer.endpoint, ack, nullptr);
      return;
    }
    case Kind::Frame: break;
  }
  if (!peer.channel.Accept(header.sequence)) return;  // a duplicate of the network
  FrameRef frame = MakeFrame(datagram.payload, datagram.bytes);
  if (header.colour <= colour_) return Arrived(header.colour, frame);
  if (earlyBytes_ + frame->size() > kEarlyBytes) {
    droppedQueue_++;
    return;
  }
  earlyHeld_++;
  earlyBytes_ += frame->size();
  early_[header.colour].push_back(std::move(frame));
}

Header Switch::NewHeader(Kind kind) const {
  Header header;
  header.kind = kind;
  header.source = options_.host;
  header.cluster = options_.cluster;
  header.incarnation = incarnation_;
  header.generation = generation_;
  header.session = session_;
  header.colour = colour_;
  return header;
}

void Switch::SendMarkers() {
  const int64_t now_us = Now();
  for (auto& [host, peer] : peers_) {
    for (const MarkerToSend& due : peer.channel.DueMarkers(now_us)) {
      Header marker = NewHeader(Kind::Marker);
      marker.cut = due.cut;
      marker.sequence = due.last;
      tunnel_->Send(peer.endpoint, marker, nullptr);
    }
  }
}

void Switch::SendHellos() {
  const int64_t now_us = Now();
  if (now_us < nextHello_us_ || peers_.empty()) return;
  nextHello_us_ = now_us + kHelloUs;
  for (const auto& [host, peer] : peers_) tunnel_->Send(peer.endpoint, NewHeader(Kind::Hello), nullptr);
}

}  // namespace virtcft::fabric
