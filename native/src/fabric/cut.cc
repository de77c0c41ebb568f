// The cut on one host and the generations: hold, flip, release, channel state.
#include <algorithm>

#include "limits.h"
#include "switch.h"

namespace virtcft::fabric {

void Switch::Hold() {
  holding_ = true;
  drained_us_ = 0;
}

void Switch::ReadPorts() {
  for (const auto& [nic, port] : ports_) {
    // The guests are stopped, so a socket holds what it holds; the bound is for a host that flips without having stopped them.
    for (size_t taken = 0, count = kBatchFrames; count == kBatchFrames && taken < kTunnelQueueFrames; taken += count) {
      count = port->Receive(portBatch_);
      for (size_t i = 0; i < count; i++) FromPort(*port, MakeFrame(portBatch_.at(i), portBatch_.bytes(i)));
    }
  }
}

void Switch::ForwardParked() {
  for (Held& each : std::exchange(held_, {})) {
    heldBytes_ -= each.frame->size();
    if (each.from == Held::From::Port) Forward(each.nic, each.colour, each.frame);
    else Park(std::move(each));
  }
}

void Switch::Drain() {
  if (!holding_) return;
  ReadPorts();
  ForwardParked();
  drained_us_ = Now();
}

void Switch::Flip(uint64_t epoch) {
  if (colour_ > epoch) return;
  const bool wasHolding = std::exchange(holding_, true);
  ReadPorts();

  const uint64_t first = colour_;
  const int64_t now_us = Now();
  // Guests that stood still since a drain took nothing after it, however long ago that is.
  const int64_t stopped_us = drained_us_ != 0 ? drained_us_ : now_us;
  log_.Open(first, epoch);
  for (const auto& [nic, port] : ports_) {
    port->ForEachUntaken(stopped_us, [&](const FrameRef& frame) { log_.Log(first, epoch, port->nic(), frame); });
  }
  // What was sent before the cut goes its way with its own colour; what stays on this host is not delivered before the cut.
  ForwardParked();
  for (const Held& each : held_) {
    if (each.from == Held::From::Local) log_.Log(std::max(first, each.colour), epoch, each.nic, each.frame);
  }
  colour_ = epoch + 1;
  AdmitEarly();
  for (auto& [host, peer] : peers_) peer.channel.Cut(epoch, now_us);
  SendMarkers();
  if (!wasHolding) Release();
  AnswerQuestions();
}

void Switch::AdmitEarly() {
  while (!early_.empty() && early_.begin()->first <= colour_) {
    auto node = early_.extract(early_.begin());
    for (const FrameRef& frame : node.mapped()) {
      earlyBytes_ -= frame->size();
      Arrived(node.key(), frame);
    }
  }
}

void Switch::Arrived(uint64_t colour, const FrameRef& frame) {
  EachLocal(DestinationOf(*frame), SourceOf(*frame), [&](Mac nic) {
    if (colour < colour_ && log_.Log(colour, colour_ - 1, nic, frame) > 0) lateLogged_++;
    ToLocal(nic, colour, frame);
  });
}

void Switch::Release() {
  holding_ = false;
  drained_us_ = 0;
  for (Held& each : std::exchange(held_, {})) {
    heldBytes_ -= each.frame->size();
    if (each.from == Held::From::Port) Forward(each.nic, each.colour, each.frame);
    else Deliver(each.nic, each.frame);
  }
  Room();
}

void Switch::AskChannelState(uint64_t epoch, int64_t timeout_us, ChannelReply reply) {
  if (colour_ > epoch && !log_.IsOpen(epoch)) {
    reply({"ENOENT", "cut " + std::to_string(epoch) + " is not open here: its channel state was taken, or pushed out by newer cuts"}, {}, {});
    return;
  }
  questions_.push_back({epoch, Now() + timeout_us, std::move(reply)});
  AnswerQuestions();
}

void Switch::AnswerQuestions() {
  const int64_t now_us = Now();
  nextLook_us_ = INT64_MAX;
  std::vector<Question> waiting;
  for (Question& question : std::exchange(questions_, {})) {
    std::vector<int> open;
    for (auto& [host, peer] : peers_) {
      if (!peer.channel.Closed(question.epoch, now_us, &nextLook_us_)) open.push_back(host);
    }
    const bool cut = colour_ > question.epoch;
    if ((!cut || !open.empty()) && now_us < question.deadline_us) {
      nextLook_us_ = std::min(nextLook_us_, question.deadline_us);
      waiting.push_back(std::move(question));
    } else if (!cut) {
      question.reply({"ETIMEDOUT", "this host has not cut epoch " + std::to_string(question.epoch) + " yet: flip it first"}, {}, {});
    } else if (!log_.IsOpen(question.epoch)) {
      question.reply({"ENOENT", "cut " + std::to_string(question.epoch) + " was pushed out by newer cuts"}, {}, {});
    } else {
      question.reply({}, log_.Take(question.epoch), std::move(open));
    }
  }
  questions_ = std::move(waiting);
}

void Switch::Abandon(const Failure& why) {
  for (Question& question : std::exchange(questions_, {})) question.reply(why, {}, {});
}

void Switch::ForgetGeneration() {
  Abandon({"ESTALE", "the generation changed"});
  holding_ = false;
  drained_us_ = 0;
  held_.clear();
  heldBytes_ = 0;
  early_.clear();
  earlyBytes_ = 0;
  log_.Clear();
  gate_.Drop();
  passThrough_ = false;  // a new generation's gate starts closed (R10)
  told_ = 0;
  for (const auto& [nic, port] : ports_) port->Discard(portBatch_);
  Room();
}

void Switch::SetGeneration(const Generation& next, std::optional<uint64_t> keepOutputUpTo) {
  const bool changed = next.generation != generation_ || next.incarnation != incarnation_;
  if (changed) {
    if (keepOutputUpTo) ReleaseOutput(*keepOutputUpTo);
    ForgetGeneration();
    if (next.mtu && *next.mtu != mtu()) SetMtu(*next.mtu);
    if (next.heldOutputBytes) bound_ = OutputBound(*next.heldOutputBytes, options_.heldOutputAge_us);
    generation_ = next.generation;
    incarnation_ = next.incarnation;
    key_ = options_.secret->For(options_.cluster, incarnation_);
    colour_ = next.colour;
  }
  const int64_t now_us = Now();
  std::map<uint8_t, Peer> peers;
  for (const PeerAt& at : next.peers) {
    if (at.host == options_.host) continue;
    const auto known = peers_.find(at.host);
    Peer peer;
    if (known != peers_.end() && known->second.life == at.life) {
      peer = std::move(known->second);
      if (changed) {
        peer.counted.lost += peer.channel.missing();
        peer.channel = {};
      }
    } else {
      peer.counted.heard_us = now_us;
    }
    peer.counted.host = at.host;
    peer.life = at.life;
    peer.endpoint = at.endpoint;
    peers.emplace(at.host, std::move(peer));
  }
  peers_ = std::move(peers);
  placement_.clear();
  for (const Placement& placement : next.macs) placement_[placement.mac] = placement.host;
  nextHello_us_ = now_us;
  OnTimer();
}

}  // namespace virtcft::fabric
