// The tunnel's side of the switch: what peers send, and what is sent to them.
#include <algorithm>

#include "limits.h"
#include "switch.h"

namespace virtcft::fabric {

void Switch::OnTunnel() {
  const size_t count = tunnelBatch_.Receive(tunnel_->fd());
  for (size_t i = 0; i < count; i++) FromWire(tunnelBatch_.at(i), tunnelBatch_.bytes(i));
  AnswerQuestions();
}

/** Magic, version, length; cluster, incarnation and so the key; the MAC; and only then what it says. */
void Switch::FromWire(const uint8_t* at, size_t bytes) {
  const auto claim = ReadClaim(at, bytes, maxFrame_);
  if (!claim || claim->cluster != options_.cluster) {
    droppedForeign_++;
    return;
  }
  const auto found = peers_.find(claim->source);
  if (!Authentic(*claim, at, bytes)) {
    droppedForged_++;
    if (found != peers_.end()) found->second.counted.forged++;
    return;
  }
  const auto datagram = ParseDatagram(at, bytes - kMacBytes, maxFrame_);
  // The destination is under the MAC: what was said to another host cannot be said again to this one.
  if (!datagram || datagram->header.destination != options_.host || found == peers_.end()) droppedForeign_++;
  else if (datagram->header.life != found->second.life) droppedLife_++;
  else FromTunnel(found->second, *datagram);
}

bool Switch::Authentic(const Claim& claim, const uint8_t* at, size_t bytes) {
  // Another incarnation's key is derived each time: that costs no more than the MAC itself, and a forger has no cache to fill.
  return Genuine(claim.incarnation == incarnation_ ? key_ : options_.secret->For(options_.cluster, claim.incarnation), at, bytes);
}

/** I3: what is of another generation or incarnation says nothing here, but that its host lives. */
bool Switch::Belongs(Peer& peer, const Header& header) {
  if (header.generation == generation_ && header.incarnation == incarnation_) return peer.channel.InSession(header.session);
  const int64_t now_us = Now();
  std::erase_if(peer.foreign_us, [&](const auto& told) { return now_us - told.second >= kForeignEventUs; });
  if (peer.foreign_us.size() < kForeignEvents && peer.foreign_us.try_emplace(header.generation, now_us).second) {
    events_.push_back({Event::Kind::ForeignGeneration, header.generation, header.source, Pressure::Free});
  }
  return false;
}

void Switch::FromTunnel(Peer& peer, const Datagram& datagram) {
  const Header& header = datagram.header;
  if (header.kind == Kind::Hello) HelloFrom(peer, header.sequence);  // alive, whatever it believes
  if (!Belongs(peer, header)) {
    droppedForeign_++;
    return;
  }
  if (header.colour > std::max(colour_, told_)) {
    told_ = header.colour;
    events_.push_back({Event::Kind::NewerColour, header.colour, header.source, Pressure::Free});
  }
  switch (header.kind) {
    case Kind::Hello: return;
    case Kind::Ack:
      if (header.echo == session_) peer.channel.Acknowledged(header.cut);
      return;
    case Kind::Marker: {
      peer.channel.MarkerSeen(header.cut, header.sequence, Now());
      Header ack = NewHeader(Kind::Ack, header.source);
      ack.cut = header.cut;
      ack.echo = header.session;
      tunnel_->Send(peer.endpoint, ack, key_, nullptr);
      return;
    }
    case Kind::Frame: return FrameFrom(peer, datagram);
  }
}

/** Only a hello that is newer than all before is a sign of life: one that was recorded and sent again makes nobody alive. */
void Switch::HelloFrom(Peer& peer, uint64_t number) {
  if (number <= peer.lastHello) {
    droppedReplayed_++;
    return;
  }
  peer.lastHello = number;
  peer.counted.heard_us = Now();
}

void Switch::FrameFrom(Peer& peer, const Datagram& datagram) {
  const uint64_t colour = datagram.header.colour;
  Stats::OfPeer& counted = peer.counted;
  if (!peer.channel.Accept(datagram.header.sequence)) {  // the network repeated it, or somebody did
    counted.duplicates++;
    return;
  }
  counted.received++;
  counted.receivedBytes += datagram.bytes;
  FrameRef frame = MakeFrame(datagram.payload, datagram.bytes);
  if (colour <= colour_) {
    if (colour < colour_) counted.late++;
    return Arrived(colour, frame);
  }
  counted.early++;
  if (earlyBytes_ + frame->size() > kEarlyBytes) {
    droppedQueue_++;
    return;
  }
  earlyHeld_++;
  earlyBytes_ += frame->size();
  early_[colour].push_back(std::move(frame));
}

Header Switch::NewHeader(Kind kind, uint8_t to) const {
  Header header;
  header.kind = kind;
  header.source = options_.host;
  header.destination = to;
  header.cluster = options_.cluster;
  header.incarnation = incarnation_;
  header.life = options_.life;
  header.generation = generation_;
  header.session = session_;
  header.colour = colour_;
  return header;
}

void Switch::SendMarkers() {
  const int64_t now_us = Now();
  for (auto& [host, peer] : peers_) {
    for (const MarkerToSend& due : peer.channel.DueMarkers(now_us)) {
      Header marker = NewHeader(Kind::Marker, host);
      marker.cut = due.cut;
      marker.sequence = due.last;
      tunnel_->Send(peer.endpoint, marker, key_, nullptr);
    }
  }
}

void Switch::SendHellos() {
  const int64_t now_us = Now();
  if (now_us < nextHello_us_ || peers_.empty()) return;
  nextHello_us_ = now_us + kHelloUs;
  hellos_++;  // on over generations, so that an old one is known for what it is
  for (const auto& [host, peer] : peers_) {
    Header hello = NewHeader(Kind::Hello, host);
    hello.sequence = hellos_;
    tunnel_->Send(peer.endpoint, hello, key_, nullptr);
  }
}

}  // namespace virtcft::fabric
