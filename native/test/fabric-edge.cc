// The way out: the gate, the edge on a veth pair in this process's own network namespace (native/test/fabric.sh makes it), offloads.
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>

#include "../src/fabric/announcement.h"
#include "../src/fabric/offload.h"
#include "fabric-lab.h"

using namespace lab;

constexpr Mac kOutside = 0x0200000000feULL;

static void Shell(const std::string& command) {
  if (std::system(command.c_str()) == 0) return;
  std::fprintf(stderr, "failed: %s\n", command.c_str());
  std::exit(1);
}

/** A machine outside: it sees and sends whole frames. */
class Outside {
 public:
  Outside() : fd_(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL))) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(if_nametoindex("ext0"));
    CHECK(bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    const int on = 1;
    CHECK(setsockopt(fd_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) == 0);
  }
  ~Outside() { close(fd_); }
  void Send(const Bytes& frame) { CHECK(send(fd_, frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size())); }
  /** The next frame that a test sent. */
  std::optional<Bytes> Take(int timeout_ms = 3000) {
    for (;;) {
      pollfd ready{fd_, POLLIN, 0};
      if (poll(&ready, 1, timeout_ms) == 0) return std::nullopt;
      Bytes frame(65536);
      const auto got = recv(fd_, frame.data(), frame.size(), 0);
      CHECK(got > 0);
      frame.resize(static_cast<size_t>(got));
      const int type = frame[12] << 8 | frame[13];
      if (type == 0x88b5 || type == 0x8035 || type == 0x0806) return frame;
    }
  }
  std::string Hear(int timeout_ms = 3000) {
    const auto frame = Take(timeout_ms);
    return frame ? TextOf(*frame) : "";
  }

 private:
  int fd_;
};

static void HoldsOutputUntilItsCutIsCommitted() {
  Guest a(0), b(1);
  Outside outside;
  Host host(0, "edge0"), other(1);
  host.Attach(a), other.Attach(b);
  host.Wire(2, 2), other.Wire(2, 2);
  CHECK(a.Send(kOutside, "of one"));
  Until([&] { return host.stats().heldOutputFrames == 1; });
  host.Hold();
  CHECK(a.Send(kBroadcast, "of one, to all"));
  host.Flip(1);
  CHECK(a.Send(kOutside, "of two"));
  host.Release();
  Until([&] { return host.stats().heldOutputFrames == 3; });
  CHECK(outside.Hear(50).empty());
  const Released released = host.ReleaseOutput(1);
  CHECK(released.frames == 2 && released.bytes == 14 * 2 + 20 && released.oldest_us > 0);
  CHECK(outside.Hear() == "of one" && outside.Hear() == "of one, to all");
  CHECK(outside.Hear(50).empty());
  CHECK(b.Hear() == "of one, to all");  // inside the cluster nothing waits for a commit
}

static void Bounded() {
  Guest a(0), b(1);
  Outside outside;
  constexpr size_t kBound = 64'000;
  Host host(0, "edge0", kBound);
  host.Attach(a), host.Attach(b);
  host.Wire(1, 2);
  const std::string text(986, 'x');
  int sent = 0;
  for (int idle = 0; idle < 100;) {
    if (a.Send(kOutside, std::to_string(1000 + sent) + text)) sent++, idle = 0;
    else usleep(5000), idle++;
    // While it is throttled, a guest that says nothing to the outside is served as ever.
    if (host.stats().pressure == Pressure::Throttled && b.Send(a.nic, "inside")) Until([&] { return host.stats().ports[1].received > 0; });
    while (a.Take()) {
    }
  }
  using enum Pressure;
  CHECK((host.Pressures() == std::vector<Pressure>{Throttled, Full}));
  const Stats full = host.stats();
  CHECK(full.pressure == Full && full.throttled == 1 && full.filled == 1 && full.ports[0].stopped_us > 0);
  CHECK(full.heldOutputBytes >= kBound && full.heldOutputBytes < kBound + 70 * 1004);
  CHECK(full.heldOutputFrames < static_cast<size_t>(sent));  // the rest waits in the sockets, in the guest
  host.Cut(1);
  host.ReleaseOutput(1);
  Until([&] { return host.Pressures().back() == Free; });
  for (int i = 0; i < sent; i++) CHECK(outside.Hear().substr(0, 4) == std::to_string(1000 + i));
  CHECK(host.stats().ports[0].dropped == 0 && host.stats().droppedQueue == 0);
}

static void OldOutputIsFullToo() {
  Guest a(0);
  Outside outside;
  Host host(0, "edge0", 1 << 20, [](Options& options) { options.heldOutputAge_us = 50'000; });
  host.Attach(a);
  host.Wire(1, 1);
  CHECK(a.Send(kOutside, "waits"));
  Until([&] { return host.stats().pressure == Pressure::Full; });
  const uint64_t received = host.stats().ports[0].received;
  CHECK(a.Send(kOutside, "is not read"));
  usleep(20'000);
  CHECK(host.stats().ports[0].received == received);
  host.Cut(1);  // a cut reads on: what was sent before it is of its epoch
  CHECK(host.stats().ports[0].received == received + 1);
  host.ReleaseOutput(1);
  Until([&] { return host.stats().pressure == Pressure::Free; });
  CHECK(outside.Hear() == "waits" && outside.Hear() == "is not read");
}

static void CarriesJumboFramesOut() {
  Shell("ip link set ext0 mtu 9000 && ip link set edge0 mtu 9000");
  Guest a(0);
  Outside outside;
  Host host(0, "edge0", 1 << 20, [](Options& options) { options.mtu = 9000; });
  host.Attach(a);
  host.Wire(1, 1);
  const std::string text(9000, 'j');
  CHECK(a.Send(kOutside, text));
  Until([&] { return host.stats().heldOutputBytes == 9014; });
  host.Cut(1);
  host.ReleaseOutput(1);
  CHECK(outside.Hear() == text);
  outside.Send(EthernetFrame(a.nic, kOutside, text));
  outside.Send(EthernetFrame(0x01005e000005ULL, kOutside, "multicast"));
  CHECK(a.Hear() == text && a.Hear() == "multicast");
  Shell("ip link set ext0 mtu 1500 && ip link set edge0 mtu 1500");
}

/** A guest whose NIC is an interface of the kernel: what it sends is read from a TAP, what is for it is written there. */
static void ServesATap() {
  Guest b(1);
  Host host(0), far(1);
  constexpr Mac kTapNic = 0x525400000000ULL;
  const auto add = [&](const std::string& tap) { return host.Ask<Failure>([&](Switch& s) { return s.AddPort({kTapNic, tap, "", ""}); }); };
  CHECK(add("lo").code == "EINVAL" && add("tap%d").code == "EINVAL");
  CHECK(!add("tap0"));
  CHECK(add("tap0").code == "EEXIST");
  far.Attach(b);
  host.Wire(2, 2), far.Wire(2, 2);
  Shell("ip link show tap0 | grep -q 'UP.*mtu 1500'");
  const int guest = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(if_nametoindex("tap0"));
  CHECK(bind(guest, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  const int on = 1;
  CHECK(setsockopt(guest, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) == 0);
  const auto say = [&](const std::string& text) {
    const Bytes frame = EthernetFrame(b.nic, kTapNic, text);
    CHECK(send(guest, frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size()));
  };
  const auto hear = [&]() -> std::string {
    for (;;) {
      pollfd ready{guest, POLLIN, 0};
      if (poll(&ready, 1, 3000) == 0) return "";
      Bytes frame(2000);
      frame.resize(static_cast<size_t>(std::max<ssize_t>(recv(guest, frame.data(), frame.size(), 0), 0)));
      if (frame.size() > 14 && frame[12] == 0x88 && frame[13] == 0xb5) return TextOf(frame);
    }
  };
  say("from the tap");
  CHECK(b.Hear() == "from the tap");
  CHECK(b.Send(kTapNic, "to the tap"));
  CHECK(hear() == "to the tap");
  Until([&] { return host.stats().ports[0].sent == 1 && host.stats().ports[0].sentBytes == 14 + 10; });

  // The drain at a flip takes what lies in the TAP's queue: it was sent before the cut. What was handed over lately may not be taken.
  usleep(30'000);
  host.Hold();
  CHECK(b.Send(kTapNic, "parked"));
  for (int i = 0; i < 100; i++) say("before " + std::to_string(i));
  host.Flip(1);
  say("after");
  host.Release();
  for (int i = 0; i < 100; i++) CHECK(b.Hear() == "before " + std::to_string(i));
  CHECK(b.Hear(50).empty());
  far.Cut(1);
  CHECK(b.Hear() == "after" && hear() == "parked");
  const ChannelState one = host.Channels(1);
  CHECK(!one.failure && one.frames.size() == 1 && TextOf(*one.frames[0].frame) == "parked");
  CHECK(b.Send(kTapNic, "perhaps taken"));
  CHECK(hear() == "perhaps taken");
  host.Cut(2), far.Cut(2);
  const ChannelState two = host.Channels(2);
  CHECK(!two.frames.empty() && TextOf(*two.frames.back().frame) == "perhaps taken");
  CHECK(!host.Ask<Failure>([&](Switch& s) { return s.Inject({{kTapNic, MakeFrame(EthernetFrame(kTapNic, b.nic, "of the cut").data(), 24)}}); }));
  CHECK(hear() == "of the cut");

  // Its interface is taken away: an unplugged NIC, and the switch goes on.
  Shell("ip link del tap0");
  CHECK(b.Send(kTapNic, "to nobody"));
  Until([&] { return host.stats().ports[0].dropped > 0; });
  close(guest);
  CHECK(!host.Ask<Failure>([&](Switch& s) { return s.RemovePort(kTapNic); }));
  CHECK(!add("tap0"));
}

static void PassesThroughWhenNotProtected() {
  Guest a(0);
  Outside outside;
  Host host(0, "edge0");
  host.Attach(a);
  host.Wire(1, 1);
  CHECK(a.Send(kOutside, "held"));
  Until([&] { return host.stats().heldOutputFrames == 1; });
  host.Do([](Switch& s) { s.SetPassThrough(true); });
  CHECK(a.Send(kOutside, "at once"));
  CHECK(outside.Hear() == "held" && outside.Hear() == "at once");
  host.Do([](Switch& s) { s.SetPassThrough(false); });
  CHECK(a.Send(kOutside, "held again"));
  CHECK(outside.Hear(50).empty());
}

static void ANewGenerationKeepsOnlyWhatItsBasisCovers() {
  Guest a(0);
  Outside outside;
  Host host(0, "edge0");
  host.Attach(a);
  host.Wire(1, 1);
  for (uint64_t epoch = 1; epoch <= 3; epoch++) {
    CHECK(a.Send(kOutside, "of " + std::to_string(epoch)));
    Until([&] { return host.stats().heldOutputFrames == epoch; });
    host.Cut(epoch);
  }
  host.Do([](Switch& s) { s.Hold(); });
  CHECK(a.Send(kOutside, "never"));
  host.Wire(1, 1, 2, 3, 2, 2);
  CHECK(outside.Hear() == "of 1" && outside.Hear() == "of 2");
  CHECK(outside.Hear(50).empty());
  CHECK(host.stats().heldOutputFrames == 0 && host.stats().colour == 3);
  CHECK(a.Send(kOutside, "of the new"));
  Until([&] { return host.stats().heldOutputFrames == 1; });
  host.ReleaseOutput(2);
  CHECK(outside.Hear(50).empty());
  host.ReleaseOutput(3);
  CHECK(outside.Hear() == "of the new");
}

static void TakesFromOutside() {
  Guest a(0), b(1);
  Outside outside;
  Host one(0, "edge0"), two(1);
  one.Attach(a), two.Attach(b);
  one.Wire(2, 2), two.Wire(2, 2);
  outside.Send(EthernetFrame(a.nic, kOutside, "to one"));
  CHECK(a.Hear() == "to one");
  outside.Send(EthernetFrame(kBroadcast, kOutside, "to all"));
  CHECK(a.Hear() == "to all");
  CHECK(b.Hear(50).empty());  // b's own host hears the outside itself
  outside.Send(EthernetFrame(b.nic, kOutside, "to the other host"));
  outside.Send(EthernetFrame(kBroadcast, b.nic, "b's output, at another edge"));
  CHECK(a.Hear(50).empty() && b.Hear(10).empty());
  one.Hold();
  outside.Send(EthernetFrame(a.nic, kOutside, "during the hold"));
  CHECK(a.Hear(50).empty());
  one.Flip(1), two.Flip(1);
  one.Release();
  CHECK(a.Hear() == "during the hold");
  const ChannelState state = one.Channels(1);
  for (const auto& frame : state.frames) CHECK(TextOf(*frame.frame) != "during the hold");  // the outside sends again what nobody acknowledged
}

static void Announces() {
  Guest a(0), b(1);
  Outside outside;
  Host one(0, "edge0"), two(1);
  one.Attach(a), two.Attach(b);
  one.Wire(2, 2), two.Wire(2, 2);
  CHECK(!one.Ask<Failure>([&](Switch& s) { return s.Announce(a.nic, 0x0a000005); }));
  const int types[] = {0x8035, 0x0806, 0x0806};
  const int operations[] = {3, 1, 2};
  for (int i = 0; i < 3; i++) {
    const auto seen = outside.Take();
    const auto inside = b.Take(3000);
    CHECK(seen && inside && *seen == *inside && seen->size() == 60);
    CHECK(SourceOf(*seen) == a.nic && DestinationOf(*seen) == kBroadcast);
    CHECK(((*seen)[12] << 8 | (*seen)[13]) == types[i] && (*seen)[21] == operations[i]);
    if (i > 0) CHECK((*seen)[28] == 10 && (*seen)[31] == 5 && (*seen)[38] == 10 && (*seen)[41] == 5);
  }
  CHECK(one.Ask<Failure>([&](Switch& s) { return s.Announce(b.nic, {}); }).code == "ENOENT");
}

static uint16_t InternetSum(const uint8_t* at, size_t bytes, uint32_t sum) {
  for (size_t i = 0; i < bytes; i++) sum += i % 2 ? at[i] : at[i] << 8;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

/** The kernel leaves checksums of frames on a veth to "hardware"; the guest must get them whole. */
static void CompletesChecksums() {
  Guest a(0);
  Host host(0, "edge0");
  host.Attach(a);
  host.Wire(1, 1);
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  inet_pton(AF_INET, "10.9.0.2", &to.sin_addr);
  CHECK(sendto(fd, "whole", 5, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 5);
  close(fd);
  for (;;) {
    const auto frame = a.Take(3000);
    CHECK(frame);
    if ((*frame)[12] != 8 || (*frame)[13] != 0 || (*frame)[23] != 17 || (*frame)[37] != 9) continue;
    CHECK(InternetSum(frame->data() + 34, 8 + 5, InternetSum(frame->data() + 26, 8, 17 + 13)) == 0xffff);
    return;
  }
}

static void CutsJoinedSegments() {
  // One TCP frame of 2500 bytes for segments of 1000: three, whole and in sequence.
  Bytes joined(14 + 20 + 20 + 2500);
  joined[12] = 8;
  joined[14] = 0x45, joined[22] = 64, joined[23] = 6, joined[26] = 10, joined[30] = 10, joined[18] = 0x12;
  joined[46] = 0x50, joined[47] = 0x09;  // FIN and PSH
  for (size_t i = 54; i < joined.size(); i++) joined[i] = static_cast<uint8_t>(i * 7);
  Offload offload;
  offload.flags = 1, offload.type = 1, offload.segmentBytes = 1000, offload.checksumStart = 34, offload.checksumOffset = 16;
  std::vector<Bytes> segments;
  const auto take = [&](FrameRef frame) { segments.push_back(*frame); };
  CHECK(CompleteFrame(offload, joined.data(), joined.size(), 1518, take));
  CHECK(segments.size() == 3);
  Bytes payload;
  for (size_t i = 0; i < 3; i++) {
    const Bytes& each = segments[i];
    CHECK(InternetSum(each.data() + 14, 20, 0) == 0xffff);
    CHECK(InternetSum(each.data() + 34, each.size() - 34, InternetSum(each.data() + 26, 8, 6 + static_cast<uint32_t>(each.size()) - 34)) == 0xffff);
    CHECK((each[16] << 8 | each[17]) == static_cast<int>(each.size()) - 14);
    CHECK((each[40] << 8 | each[41]) == static_cast<int>(i) * 1000);
    CHECK(each[47] == (i == 2 ? 0x09 : 0x00));
    payload.insert(payload.end(), each.begin() + 54, each.end());
  }
  CHECK(std::equal(payload.begin(), payload.end(), joined.begin() + 54, joined.end()));
  // Whatever a header claims: refused or done, never read beyond.
  for (unsigned n = 0; n < 20'000; n++) {
    std::srand(n);
    Bytes some(joined.begin(), joined.begin() + 1 + std::rand() % 200);
    for (int i = 0; i < 4; i++) some[static_cast<size_t>(std::rand()) % some.size()] = static_cast<uint8_t>(std::rand());
    offload = {static_cast<uint8_t>(std::rand() % 2), static_cast<uint8_t>(std::rand() % 6), 0, static_cast<uint16_t>(std::rand() % 50),
               static_cast<uint16_t>(std::rand() % 80), static_cast<uint16_t>(std::rand() % 40)};
    if (n % 2) offload.checksumStart = 34, offload.checksumOffset = 16, offload.flags = 1, offload.type = 1;
    CompleteFrame(offload, some.data(), some.size(), 1518, [](FrameRef) {});
  }
}

int main() {
  Shell("ip link set lo up && ip link add ext0 type veth peer name edge0");
  // Without the kernel's own IPv6 chatter.
  Shell("ip link set ext0 addrgenmode none && ip link set edge0 addrgenmode none && ip link set edge0 up && ip link set ext0 up");
  Shell("ip addr add 10.9.0.1/24 dev ext0 && ip neigh add 10.9.0.2 lladdr 52:54:00:00:00:00 dev ext0");
  const std::pair<const char*, void (*)()> tests[] = {
      {"holds output until its cut is committed", HoldsOutputUntilItsCutIsCommitted},
      {"towards the bound of held output guests are throttled, at it they wait, nothing is dropped", Bounded},
      {"output that is too old holds the guests back too", OldOutputIsFullToo},
      {"carries jumbo frames out and in", CarriesJumboFramesOut},
      {"serves a TAP", ServesATap},
      {"passes through when not protected", PassesThroughWhenNotProtected},
      {"a new generation keeps only what its basis covers", ANewGenerationKeepsOnlyWhatItsBasisCovers},
      {"takes from outside what is for its VMs", TakesFromOutside},
      {"announces", Announces},
      {"completes checksums", CompletesChecksums},
      {"cuts joined segments", CutsJoinedSegments},
  };
  for (const auto& [name, test] : tests) {
    test();
    std::printf("ok: %s\n", name);
  }
  rmdir(Folder().c_str());
}
