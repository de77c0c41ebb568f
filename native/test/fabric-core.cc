// The fabric's core without Node: real sockets, real threads. Run by native/test/fabric.sh, also under sanitizers.
#include "fabric-lab.h"

#include <map>
#include <random>

using namespace lab;

static void Forwards() {
  Guest a(0), b(1), c(2);
  Host one(0), two(1);
  one.Attach(a), two.Attach(b), one.Attach(c);
  one.Wire(2, 3), two.Wire(2, 3);
  CHECK(a.Send(c.nic, "inside"));
  CHECK(c.Hear() == "inside");
  CHECK(a.Send(b.nic, "across"));
  CHECK(b.Hear() == "across");
  CHECK(b.Send(kBroadcast, "all"));
  CHECK(a.Hear() == "all" && c.Hear() == "all");
  CHECK(b.Hear(20).empty());
  CHECK(a.Send(EthernetFrame(b.nic, b.nic, "as another")));
  Until([&] { return one.stats().ports[0].dropped == 1; });
  CHECK(b.Hear(20).empty());
  Until([&] { return one.stats().peers[0].heard_us > 0 && Now() - one.stats().peers[0].heard_us < 200'000; });
}

static void HoldsAndLogsInsideAHost() {
  Guest a(0), b(1);
  Host host(0);
  host.Attach(a), host.Attach(b);
  host.Wire(1, 2);
  host.Hold();
  CHECK(a.Send(b.nic, "in flight"));
  Until([&] { return host.stats().ports[0].received == 1; });
  CHECK(b.Hear(30).empty());
  CHECK(a.Send(b.nic, "in the socket"));
  host.Flip(1);
  CHECK(host.stats().colour == 2);
  CHECK(a.Send(b.nic, "of epoch two"));
  Until([&] { return host.stats().ports[0].received == 3; });
  CHECK(b.Hear(30).empty());
  host.Release();
  CHECK(b.Hear() == "in flight");
  CHECK(b.Hear() == "in the socket");
  CHECK(b.Hear() == "of epoch two");
  const ChannelState state = host.Channels(1);
  CHECK(!state.failure && state.down.empty() && state.frames.size() == 2);
  CHECK(TextOf(*state.frames[0].frame) == "in flight" && state.frames[0].nic == b.nic);
  CHECK(TextOf(*state.frames[1].frame) == "in the socket");
  CHECK(host.Channels(1).failure.code == "ENOENT");
}

static void DrainsBeforeAllFlip() {
  Guest a(0), b(1), c(2);
  Host one(0), two(1);
  one.Attach(a), one.Attach(c), two.Attach(b);
  one.Wire(2, 3), two.Wire(2, 3);
  one.Drain();  // without a hold: nothing
  one.Hold(), two.Hold();
  CHECK(a.Send(b.nic, "across"));
  CHECK(a.Send(c.nic, "inside"));
  Until([&] { return one.stats().ports[0].received == 2; });
  one.Drain(), two.Drain();
  CHECK(one.stats().colour == 1 && two.stats().colour == 1);
  // Delivered to nobody: the receivers stand still too.
  CHECK(b.Hear(30).empty() && c.Hear(30).empty());
  one.Flip(1), two.Flip(1);
  one.Release(), two.Release();
  CHECK(b.Hear() == "across" && c.Hear() == "inside");
  const ChannelState ofOne = one.Channels(1), ofTwo = two.Channels(1);
  CHECK(ofOne.down.empty() && ofOne.frames.size() == 1 && TextOf(*ofOne.frames[0].frame) == "inside");
  // It arrived before the flip: in the cut, and late for none.
  CHECK(ofTwo.down.empty() && ofTwo.frames.size() == 1 && TextOf(*ofTwo.frames[0].frame) == "across");
  CHECK(two.stats().lateLogged == 0);
}

static void LogsWhatAGuestHadNotTakenWhenItStopped() {
  Guest a(0), b(1);
  Host host(0);
  host.Attach(a), host.Attach(b);
  host.Wire(1, 2);
  CHECK(a.Send(b.nic, "read ahead"));
  CHECK(b.Hear() == "read ahead");  // its hypervisor has it; whether the guest does nobody knows
  host.Hold();
  host.Drain();
  usleep(60'000);  // longer than a taken frame counts as perhaps not taken
  host.Flip(1);
  host.Release();
  const ChannelState state = host.Channels(1);
  CHECK(state.frames.size() == 1 && TextOf(*state.frames[0].frame) == "read ahead");
}

static void LogsWhatTheGuestDidNotTake() {
  Guest a(0), b(1);
  Host host(0);
  host.Attach(a), host.Attach(b);
  host.Wire(1, 2);
  for (int i = 0; i < 30; i++) {
    Until([&] { return a.Send(b.nic, std::to_string(i)); });
  }
  Until([&] { return host.stats().ports[0].received == 30; });
  for (int i = 0; i < 5; i++) CHECK(b.Hear() == std::to_string(i));
  usleep(30'000);
  host.Cut(1);
  const ChannelState state = host.Channels(1);
  std::map<std::string, int> logged;
  for (const auto& frame : state.frames) logged[TextOf(*frame.frame)]++;
  for (int i = 5; i < 30; i++) CHECK(logged[std::to_string(i)] == 1);
  CHECK(state.frames.size() <= 28);
  for (int i = 5; i < 30; i++) CHECK(b.Hear() == std::to_string(i));
}

static void HoldsEarlyAndLogsLate() {
  Guest a(0), b(1);
  Host one(0), two(1);
  one.Attach(a), two.Attach(b);
  one.Wire(2, 2), two.Wire(2, 2);
  one.Cut(1);
  CHECK(a.Send(b.nic, "early"));
  Until([&] { return two.stats().earlyHeld == 1; });
  CHECK(b.Hear(30).empty());
  CHECK(two.Events(Event::Kind::NewerColour) == 1);
  auto closing = one.AskChannels(1);
  CHECK(b.Send(a.nic, "late"));
  CHECK(a.Hear() == "late");
  two.Cut(1);
  CHECK(b.Hear() == "early");
  const ChannelState ofOne = closing.get();
  CHECK(ofOne.frames.size() == 1 && TextOf(*ofOne.frames[0].frame) == "late" && ofOne.down.empty());
  CHECK(two.Channels(1).frames.empty());
  // One frame that is late for two cuts is in both.
  usleep(30'000);  // longer than a taken frame counts as perhaps not taken
  one.Cut(2), one.Cut(3);
  CHECK(b.Send(a.nic, "late for two"));
  CHECK(a.Hear() == "late for two");
  two.Cut(3);
  for (uint64_t cut : {2, 3}) {
    const ChannelState state = one.Channels(cut);
    CHECK(state.frames.size() == 1 && TextOf(*state.frames[0].frame) == "late for two" && state.down.empty());
  }
  CHECK(one.stats().colour == 4 && two.stats().colour == 4);
  two.Flip(1);
  CHECK(two.stats().colour == 4);
}

static void ReportsASilentPeer() {
  Guest a(0);
  Host one(0), two(1);
  one.Attach(a);
  one.Wire(2, 2), two.Wire(2, 2);
  two.fabric->Close();
  one.Cut(1);
  const ChannelState state = one.Channels(1, 50);
  CHECK(!state.failure && state.down == std::vector<int>{1});
}

static void FencesGenerations() {
  Guest a(0), b(1);
  Host one(0), two(1);
  one.Attach(a), two.Attach(b);
  one.Wire(2, 2, 1), two.Wire(2, 2, 2, 1, {}, 2);
  CHECK(a.Send(b.nic, "of the past"));
  CHECK(b.Hear(50).empty());
  Until([&] { return two.Events(Event::Kind::ForeignGeneration) > 0 && one.Events(Event::Kind::ForeignGeneration) > 0; });
  CHECK(two.stats().droppedForeign > 0);
  auto waiting = one.AskChannels(9);
  one.Wire(2, 2, 2, 1, {}, 2);
  CHECK(waiting.get().failure.code == "ESTALE");
  CHECK(a.Send(b.nic, "of now"));
  CHECK(b.Hear() == "of now");
}

static void InjectsFirst() {
  Guest a(0), b(1);
  b.Stop();  // its hypervisor is not there yet
  Host host(0);
  host.Attach(a), host.Attach(b);
  host.Wire(1, 2);
  std::vector<LoggedFrame> frames;
  for (const char* text : {"first", "second"}) {
    const Bytes frame = EthernetFrame(b.nic, a.nic, text);
    frames.push_back({b.nic, MakeFrame(frame.data(), frame.size())});
  }
  CHECK(!host.Ask<Failure>([&](Switch& s) { return s.Inject(frames); }));
  CHECK(a.Send(b.nic, "newer"));
  Until([&] { return host.stats().ports[0].received == 1; });
  b.Start();
  CHECK(b.Hear() == "first" && b.Hear() == "second" && b.Hear() == "newer");
  b.Stop(), b.Start();
  CHECK(a.Send(b.nic, "after a restart"));
  CHECK(b.Hear() == "after a restart");
}

/** The pure part, with a clock of its own. */
static void ClosesAChannelWhenItIsComplete() {
  Channel channel;
  int64_t retry_us = INT64_MAX;
  CHECK(channel.InSession(1));
  CHECK(channel.Accept(1) && channel.Accept(3));
  CHECK(!channel.Closed(5, 0, &retry_us) && retry_us == INT64_MAX);  // no marker: nothing to wait for
  channel.MarkerSeen(5, 3, 1000);
  channel.MarkerSeen(5, 3, 4000);  // repeated: the grace runs from the first
  CHECK(!channel.Closed(5, 1001, &retry_us) && retry_us == 1000 + kChannelGraceUs);
  CHECK(channel.Accept(2) && !channel.Accept(2) && !channel.Accept(0));
  CHECK(channel.Closed(5, 1002, &retry_us));
  CHECK(channel.Closed(4, 1002, &retry_us) && !channel.Closed(6, 1002, &retry_us));
  channel.MarkerSeen(6, 10, 2000);
  CHECK(!channel.Closed(6, 2000 + kChannelGraceUs - 1, &retry_us));
  CHECK(channel.Closed(6, 2000 + kChannelGraceUs, &retry_us));  // 4..10 were lost; the next cut does not wait for them again
  CHECK(channel.Accept(11));
  channel.MarkerSeen(7, 11, 3000);
  CHECK(channel.Closed(7, 3000, &retry_us));
  // Far ahead: what falls out of the window is neither missed nor taken again.
  CHECK(channel.Accept(11 + kWindowFrames) && !channel.Accept(11) && channel.Accept(12));
  CHECK(channel.Accept(uint64_t{1} << 40) && !channel.Accept(12 + kWindowFrames));
  CHECK(channel.missing() == (uint64_t{1} << 40) - 7);  // 1, 2, 3, 11, 12, 11 + kWindowFrames and the newest came
  // A life has one session; another is nobody's.
  CHECK(channel.InSession(1) && !channel.InSession(2) && channel.InSession(1));

  channel.Cut(8, 0);
  CHECK(channel.DueMarkers(0).size() == 1 && channel.DueMarkers(1).empty() && channel.NextMarker() == kMarkerRepeatUs);
  channel.NextSequence();
  channel.Cut(9, kMarkerRepeatUs);
  const auto due = channel.DueMarkers(kMarkerRepeatUs);
  CHECK(due.size() == 2 && due[0].last == 0 && due[1].last == 1);
  channel.Acknowledged(8);
  CHECK(channel.DueMarkers(kMarkerEagerUs * 2).size() == 1);
  CHECK(channel.NextMarker() == kMarkerEagerUs * 2 + kMarkerSlowUs);
  channel.Acknowledged(9);
  CHECK(!channel.NextMarker());
}

/** Only who knows the secret is heard, only of the life that was admitted, only where it is meant for, and once. */
static void HearsTheAdmittedAlone() {
  Guest b(1);
  Host two(1);
  two.Attach(b);
  two.Wire(2, 2);
  const Key key = TheSecret()->For(ClusterId(), Incarnation(1));
  Speaker speaker;
  const Bytes frame = EthernetFrame(b.nic, MacOfGuest(0), "hello");
  Header header = Speaker::HeaderFrom(0, 1, Kind::Frame);
  const Bytes good = Speaker::Sealed(header, key, frame);

  Bytes bad = good;
  for (size_t at = kHeaderBytes; at < bad.size(); at += 3) {
    bad[at] ^= 1;
    speaker.SendBytes(1, bad);
    bad[at] ^= 1;
  }
  const size_t tried = (bad.size() - kHeaderBytes + 2) / 3;
  Until([&] { return two.stats().droppedForged == tried; });
  CHECK(two.stats().peers[0].forged == tried);
  // A key of another secret, of another incarnation, of another cluster.
  const Secret other(Bytes(32, 1).data(), 32);
  speaker.Send(1, header, other.For(ClusterId(), Incarnation(1)), frame);
  speaker.Send(1, header, TheSecret()->For(ClusterId(), Incarnation(2)), frame);
  speaker.Send(1, header, TheSecret()->For(Id{9}, Incarnation(1)), frame);
  Until([&] { return two.stats().droppedForged == tried + 3; });

  Header old = header;
  old.life = Id{0x77};
  old.colour = 50;
  speaker.Send(1, old, key, frame);
  Until([&] { return two.stats().droppedLife == 1; });
  Header elsewhere = header;
  elsewhere.destination = 2;
  elsewhere.colour = 50;
  speaker.Send(1, elsewhere, key, frame);
  Until([&] { return two.stats().droppedForeign == 1; });
  CHECK(two.Events(Event::Kind::NewerColour) == 0 && b.Hear(20).empty());

  speaker.SendBytes(1, good);
  CHECK(b.Hear() == "hello");
  speaker.SendBytes(1, good);
  Until([&] { return two.stats().peers[0].duplicates == 1; });
  CHECK(b.Hear(20).empty());
  header.session = 6;  // this life has another
  header.sequence = 2;
  speaker.Send(1, header, key, frame);
  Until([&] { return two.stats().droppedForeign == 2; });
  CHECK(b.Hear(20).empty());
  const Stats::OfPeer peer = two.stats().peers[0];
  CHECK(peer.received == 1 && peer.receivedBytes == frame.size() && peer.lost == 0);

  // Another life of that host is admitted: it alone is heard, from its first number on.
  two.lives[0] = Id{0x77};
  two.Wire(2, 2);
  speaker.SendBytes(1, good);
  Until([&] { return two.stats().droppedLife == 2; });
  old.colour = 1;
  speaker.Send(1, old, key, frame);
  CHECK(b.Hear() == "hello");
}

/** The second witness (R21) must not be deceived: neither by a stranger nor by a record of what was said. */
static void OnlyANewHelloIsASignOfLife() {
  Host two(1);
  two.Wire(2, 2);
  Speaker speaker;
  const auto hello = [&](uint64_t number, uint64_t generation, uint8_t incarnation, const Id& keyOf) {
    Header header = Speaker::HeaderFrom(0, 1, Kind::Hello, generation, incarnation);
    header.sequence = number;
    speaker.Send(1, header, TheSecret()->For(ClusterId(), keyOf));
  };
  const auto heard_us = [&] { return two.stats().peers[0].heard_us; };
  int64_t last_us = heard_us();
  const auto isHeard = [&] {
    Until([&] { return heard_us() > last_us; });
    last_us = heard_us();
  };
  hello(3, 1, 1, Incarnation(1));
  isHeard();
  hello(4, 9, 9, Incarnation(9));  // of a generation that is unknown here: alive, whatever it believes
  isHeard();
  CHECK(two.Events(Event::Kind::ForeignGeneration) == 1);
  hello(4, 9, 9, Incarnation(9));
  hello(3, 1, 1, Incarnation(1));
  Until([&] { return two.stats().droppedReplayed == 2; });
  hello(5, 9, 9, Incarnation(1));  // sealed with a key that is not of the incarnation it names
  Until([&] { return two.stats().droppedForged == 1; });
  // A frame says nothing of when it was sent.
  speaker.Send(1, Speaker::HeaderFrom(0, 1, Kind::Frame), TheSecret()->For(ClusterId(), Incarnation(1)), EthernetFrame(MacOfGuest(1), MacOfGuest(0), "x"));
  Until([&] { return two.stats().peers[0].received == 1; });
  CHECK(heard_us() == last_us);
  // A new generation does not begin the count anew.
  two.Wire(2, 2, 2, 1, {}, 2);
  hello(4, 2, 2, Incarnation(2));
  Until([&] { return two.stats().droppedReplayed == 3; });
  hello(5, 2, 2, Incarnation(2));
  isHeard();
}

/** The pure rule. */
static void ThrottlesBeforeItStops() {
  const OutputBound bound(64'000'000, 10'000'000);
  using enum Pressure;
  CHECK(bound.Next(Free, 31'999'999, 0) == Free && bound.Next(Free, 32'000'000, 0) == Throttled);
  CHECK(bound.Next(Throttled, 16'000'000, 0) == Throttled && bound.Next(Throttled, 15'999'999, 0) == Free);
  CHECK(bound.Next(Throttled, 64'000'000, 0) == Full && bound.Next(Free, 1, 10'000'000) == Full && bound.Next(Free, 1, 9'999'999) == Free);
  CHECK(bound.Next(Full, 32'000'000, 0) == Full && bound.Next(Full, 31'999'999, 0) == Throttled && bound.Next(Full, 0, 0) == Free);
  // The rate falls with the room that is left, is shared, and never ends: the bound is reached.
  size_t held = 32'000'000;
  int64_t before = INT64_MAX;
  int ticks = 0;
  for (; bound.Next(Throttled, held, 0) == Throttled; ticks++) {
    const int64_t each = bound.Allowance(held, 4, 1518);
    CHECK(each >= 1518 && each <= before && each * 4 <= std::max<int64_t>(static_cast<int64_t>(64'000'000 - held) / 64, 4 * 1518));
    before = each;
    held += static_cast<size_t>(each) * 4;
  }
  CHECK(ticks > 100);  // over a second at kThrottleUs
}

static void CarriesJumboFramesAndGroups() {
  const auto jumbo = [](Options& options) { options.mtu = 9000; };
  Guest a(0), b(1), c(2);
  Host one(0, "", 1 << 20, jumbo), two(1, "", 1 << 20, jumbo);
  one.Attach(a), two.Attach(b), one.Attach(c);
  one.Wire(2, 3), two.Wire(2, 3);
  std::string text(9000, 'x');
  for (size_t i = 0; i < text.size(); i++) text[i] = static_cast<char>('a' + i % 23);
  CHECK(a.Send(b.nic, text) && a.Send(c.nic, text));
  CHECK(b.Hear() == text && c.Hear() == text);
  CHECK(a.Send(EthernetFrame(b.nic, a.nic, text + std::string(5, 'y'))));  // above the MTU and a VLAN's tag
  Until([&] { return one.stats().ports[0].dropped == 1; });
  usleep(30'000);  // longer than a taken frame counts as perhaps not taken
  one.Cut(1);
  CHECK(b.Send(kBroadcast, text));  // late, and in the log as it was
  CHECK(a.Hear() == text && c.Hear() == text);
  two.Cut(1);
  CHECK(one.Channels(1).frames.size() == 2);
  CHECK(a.Send(0x01005e000005ULL, "multicast"));
  CHECK(b.Hear() == "multicast" && c.Hear() == "multicast" && a.Hear(20).empty());
  Until([&] {
    const Stats::OfPeer peer = two.stats().peers[0];
    return peer.received == 2 && peer.receivedBytes == 9014 + 23 && peer.sent == 1 && peer.late == 0 && one.stats().peers[0].late == 1;
  });
  Until([&] {
    const auto port = one.stats().ports[0];
    return port.received == 4 && port.receivedBytes == 2 * 9014 + 9019 + 23 && port.sent == 1 && port.sentBytes == 9014;
  });
}

/** Untrusted bytes, strangers' and then a peer's that went mad: none may crash. */
static void SurvivesFuzz() {
  Guest a(0), b(1);
  Host one(0), two(1);
  one.Attach(a), two.Attach(b);
  one.Wire(2, 2), two.Wire(2, 2);
  std::mt19937 random(7);
  const Key key = TheSecret()->For(ClusterId(), Incarnation(1));
  Speaker speaker;
  for (int i = 0; i < 20'000; i++) {
    Bytes bytes(random() % 200);
    for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
    if (i % 2 == 0) {
      Header header = Speaker::HeaderFrom(0, 1, static_cast<Kind>(1 + random() % 4));
      header.session = 5 + i % 3;
      header.sequence = random();
      header.cut = random() % 3 ? random() : UINT64_MAX;
      bytes.resize(std::max<size_t>(bytes.size(), kMaxHeaderBytes));
      EncodeHeader(header, bytes.data());
      if (i % 4 == 0) bytes[random() % bytes.size()] ^= static_cast<uint8_t>(1 + random() % 255);
      const size_t length = random() % (bytes.size() + 1);
      if (i % 8 < 6) Speaker::Reseal(bytes, key, length);
      else bytes.resize(length);
    }
    speaker.SendBytes(1, bytes);
    ReadClaim(bytes.data(), bytes.size(), 1518);
    ParseDatagram(bytes.data(), bytes.size(), 1518);
    if (i % 1000 == 0) {
      two.Cut(static_cast<uint64_t>(1 + i / 1000));
      two.Channels(static_cast<uint64_t>(1 + i / 1000), 1);
    }
  }
  CHECK(two.stats().droppedForeign > 5000 && two.stats().droppedForged > 500);
  one.Wire(2, 2, 2, 1, {}, 2), two.Wire(2, 2, 2, 1, {}, 2);
  CHECK(a.Send(b.nic, "still here"));
  Until([&] {
    const std::string heard = b.Hear(100);
    return heard == "still here";
  });
}

/**
 * I1 by chance: guests that send and read at random, hosts that cut at random moments in any order. For every cut: nothing received
 * before it was sent after it, and all that was sent before it was received before it or is in its channel state.
 */
static void CutsAreConsistent(unsigned seed) {
  constexpr int kHosts = 3, kGuests = 6, kCuts = 25;
  using Said = std::pair<int, int>;  // the sender and its count
  struct Memory {
    int said = 0;
    std::map<Said, int> heard;
  };
  std::vector<std::unique_ptr<Guest>> guests;
  std::vector<std::unique_ptr<Host>> hosts;
  std::vector<Memory> memory(kGuests);
  std::vector<std::vector<int>> audience(kGuests);  // of each message: one guest, or -1 for all
  for (int h = 0; h < kHosts; h++) hosts.push_back(std::make_unique<Host>(h));
  for (int g = 0; g < kGuests; g++) {
    guests.push_back(std::make_unique<Guest>(g));
    hosts[static_cast<size_t>(g % kHosts)]->Attach(*guests.back());
  }
  for (auto& host : hosts) host->Wire(kHosts, kGuests);
  std::mt19937 random(seed);
  const auto act = [&](int g) {
    auto& guest = *guests[static_cast<size_t>(g)];
    auto& mind = memory[static_cast<size_t>(g)];
    if (random() % 2) {
      const int other = static_cast<int>(random() % (kGuests + 1)) - 1;
      if (other == g) return;
      const Mac to = other < 0 ? kBroadcast : MacOfGuest(other);
      if (!guest.Send(to, std::to_string(g) + " " + std::to_string(mind.said))) return;
      mind.said++;
      audience[static_cast<size_t>(g)].push_back(other);
    } else {
      for (int n = static_cast<int>(random() % 4); n > 0; n--) {
        const auto frame = guest.Take();
        if (!frame) return;
        Said said;
        CHECK(std::sscanf(TextOf(*frame).c_str(), "%d %d", &said.first, &said.second) == 2);
        CHECK(mind.heard[said]++ == 0);
      }
    }
  };
  const auto anyone = [&](int exceptHost) {
    for (int n = static_cast<int>(random() % 60); n > 0; n--) {
      const int g = static_cast<int>(random() % kGuests);
      if (g % kHosts != exceptHost) act(g);
    }
  };
  size_t logged = 0;
  for (uint64_t cut = 1; cut <= kCuts; cut++) {
    std::vector<Memory> captured(kGuests);
    std::vector<int> order{0, 1, 2};
    std::shuffle(order.begin(), order.end(), random);
    for (const int h : order) {
      anyone(-1);
      Host& host = *hosts[static_cast<size_t>(h)];
      host.Hold();
      anyone(random() % 2 ? h : -1);
      // The VMs of this host are stopped from here ...
      anyone(h);
      if (random() % 2) {  // some wait for the others here, some do not
        host.Drain();
        anyone(h);
      }
      host.Flip(cut);
      for (int g = h; g < kGuests; g += kHosts) captured[static_cast<size_t>(g)] = memory[static_cast<size_t>(g)];
      anyone(random() % 2 ? h : -1);  // ... to here
      host.Release();
    }
    std::vector<std::map<Said, int>> inFlight(kGuests);
    for (auto& host : hosts) {
      ChannelState state = host->Channels(cut);
      CHECK(!state.failure && state.down.empty());
      for (const auto& frame : state.frames) {
        Said said;
        CHECK(std::sscanf(TextOf(*frame.frame).c_str(), "%d %d", &said.first, &said.second) == 2);
        inFlight[frame.nic - MacOfGuest(0)][said]++;
        logged++;
      }
    }
    for (int g = 0; g < kGuests; g++) {
      const Memory& mind = captured[static_cast<size_t>(g)];
      for (const auto& [said, count] : mind.heard) CHECK(said.second < captured[static_cast<size_t>(said.first)].said);  // no orphan
      for (const auto& [said, count] : inFlight[static_cast<size_t>(g)]) {
        CHECK(said.second < captured[static_cast<size_t>(said.first)].said);
        CHECK(count == 1);
      }
      for (int s = 0; s < kGuests; s++) {
        for (int n = 0; n < captured[static_cast<size_t>(s)].said; n++) {
          const int to = audience[static_cast<size_t>(s)][static_cast<size_t>(n)];
          if (s == g || (to >= 0 && to != g)) continue;
          CHECK(mind.heard.contains({s, n}) || inFlight[static_cast<size_t>(g)].contains({s, n}));  // nothing lost
        }
      }
    }
  }
  int said = 0;
  for (const auto& mind : memory) said += mind.said;
  CHECK(logged > 0 && said > 0);
  for (const auto& host : hosts) CHECK(host->stats().droppedQueue == 0);
  std::printf("  seed %u: %d cuts of %d guests on %d hosts, %d messages, %zu in channel states\n", seed, kCuts, kGuests, kHosts, said, logged);
}

int main() {
  const std::pair<const char*, void (*)()> tests[] = {
      {"forwards inside a host and across", Forwards},
      {"holds, and logs what is in flight inside a host", HoldsAndLogsInsideAHost},
      {"drains before all flip: no frame is late", DrainsBeforeAllFlip},
      {"logs what a guest had not taken when it stopped, however long it then stands still", LogsWhatAGuestHadNotTakenWhenItStopped},
      {"logs what the guest did not take", LogsWhatTheGuestDidNotTake},
      {"holds early frames, logs late ones to every open cut", HoldsEarlyAndLogsLate},
      {"reports a silent peer", ReportsASilentPeer},
      {"fences generations", FencesGenerations},
      {"injects before anything newer, survives the hypervisor's restart", InjectsFirst},
      {"closes a channel when it is complete, or a grace after its marker", ClosesAChannelWhenItIsComplete},
      {"hears the admitted life alone, once, and nobody without the secret", HearsTheAdmittedAlone},
      {"only a new hello is a sign of life", OnlyANewHelloIsASignOfLife},
      {"throttles at a falling rate before it stops", ThrottlesBeforeItStops},
      {"carries jumbo frames, broadcast and multicast", CarriesJumboFramesAndGroups},
      {"survives fuzzed datagrams", SurvivesFuzz},
  };
  for (const auto& [name, test] : tests) {
    test();
    std::printf("ok: %s\n", name);
  }
  for (unsigned seed = 1; seed <= 6; seed++) CutsAreConsistent(seed);
  std::printf("ok: cuts are consistent and lose nothing\n");
  rmdir(Folder().c_str());
}
