// What the standalone fabric tests share: guests as sockets, hosts as fabrics, orders that wait for their answer.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <future>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "../src/fabric/fabric.h"

#define CHECK(condition)                                                                     \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      std::fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);           \
      std::exit(1);                                                                          \
    }                                                                                        \
  } while (0)

namespace lab {

using namespace virtcft::fabric;

inline Mac MacOfGuest(int n) { return 0x525400000000ULL + static_cast<Mac>(n); }
inline const std::string& Folder() {
  static const std::string folder = [] {
    const char* temporary = std::getenv("TMPDIR");
    std::string name = std::string(temporary ? temporary : "/tmp") + "/fabric-test.XXXXXX";
    CHECK(mkdtemp(name.data()) != nullptr);
    return name;
  }();
  return folder;
}

inline Bytes EthernetFrame(Mac to, Mac from, const std::string& text) {
  Bytes frame(14 + text.size());
  WriteMac(to, frame.data());
  WriteMac(from, frame.data() + 6);
  frame[12] = 0x88;
  frame[13] = 0xb5;  // local experimental
  std::memcpy(frame.data() + 14, text.data(), text.size());
  return frame;
}
inline std::string TextOf(const Bytes& frame) { return {frame.begin() + 14, frame.end()}; }

/** A guest's NIC as the hypervisor shows it: a unix datagram socket. */
class Guest {
 public:
  explicit Guest(int n) : nic(MacOfGuest(n)), path(Folder() + "/g" + std::to_string(n)), port(Folder() + "/p" + std::to_string(n)) { Start(); }
  ~Guest() { Stop(); }
  void Start() {
    fd_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const sockaddr_un address = At(path);
    unlink(path.c_str());
    CHECK(bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  void Stop() {
    close(fd_);
    unlink(path.c_str());
  }
  /** False when the port's socket is full. */
  bool Send(const Bytes& frame) {
    const sockaddr_un address = At(port);
    const auto sent = sendto(fd_, frame.data(), frame.size(), 0, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    if (sent < 0) CHECK(errno == EAGAIN);
    return sent >= 0;
  }
  bool Send(Mac to, const std::string& text) { return Send(EthernetFrame(to, nic, text)); }
  std::optional<Bytes> Take(int timeout_ms = 0) {
    pollfd ready{fd_, POLLIN, 0};
    if (timeout_ms > 0) poll(&ready, 1, timeout_ms);
    Bytes frame(16384);
    const auto got = recv(fd_, frame.data(), frame.size(), 0);
    if (got < 0) return std::nullopt;
    frame.resize(static_cast<size_t>(got));
    return frame;
  }
  /** The next frame's text; "" when none comes. */
  std::string Hear(int timeout_ms = 3000) {
    const auto frame = Take(timeout_ms);
    return frame ? TextOf(*frame) : "";
  }
  const Mac nic;
  const std::string path, port;

 private:
  static sockaddr_un At(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size());
    return address;
  }
  int fd_ = -1;
};

constexpr uint16_t kFirstPort = 47100;
inline Id ClusterId() { return Id{1, 2, 3}; }
inline Id Incarnation(uint8_t n) { return Id{0xee, n}; }
/** The agent of host n: its first life. */
inline Id LifeOf(int n) { return Id{0x1f, static_cast<uint8_t>(n)}; }
inline const Bytes& SecretBytes() {
  static const Bytes bytes(32, 0x5a);
  return bytes;
}
inline std::shared_ptr<const Secret> TheSecret() { return std::make_shared<const Secret>(SecretBytes().data(), SecretBytes().size()); }

struct ChannelState {
  Failure failure;
  std::vector<LoggedFrame> frames;
  std::vector<int> down;
};

/** A host's fabric; every order waits for its answer. */
class Host {
 public:
  explicit Host(int n, const std::string& edge = "", size_t heldOutputBytes = 1 << 20, const std::function<void(Options&)>& change = {}) : number(n) {
    Options options;
    options.life = LifeOf(n);
    options.secret = TheSecret();
    options.heldOutputAge_us = 600'000'000;
    options.cluster = ClusterId();
    options.host = static_cast<uint8_t>(n);
    options.address = "127.0.0.1";
    options.port = static_cast<uint16_t>(kFirstPort + n);
    options.edge = edge;
    options.mtu = 1500;
    options.heldOutputBytes = heldOutputBytes;
    options.portQueueFrames = 4096;
    if (change) change(options);
    Failure failure;
    fabric = Fabric::Open(
        options,
        [this](std::vector<Event> events) {
          const std::lock_guard lock(mutex_);
          for (const Event& event : events) events_.push_back(event);
        },
        failure);
    if (!fabric) std::fprintf(stderr, "%s: %s\n", failure.code.c_str(), failure.message.c_str());
    CHECK(fabric);
  }
  /** The thread ends before what its events go to. */
  ~Host() { fabric.reset(); }
  template <class Result>
  Result Ask(std::function<Result(Switch&)> order) {
    auto promise = std::make_shared<std::promise<Result>>();
    auto future = promise->get_future();
    fabric->Post([this, promise, order](Switch& s) {
      auto result = std::make_shared<Result>(order(s));
      fabric->After([promise, result] { promise->set_value(std::move(*result)); });
    });
    return future.get();
  }
  void Do(std::function<void(Switch&)> order) {
    Ask<bool>([&](Switch& s) {
      order(s);
      return true;
    });
  }
  void Attach(Guest& guest) {
    CHECK(!Ask<Failure>([&](Switch& s) { return s.AddPort({guest.nic, "", guest.port, guest.path}); }));
  }
  /** `hosts` hosts in all; guest n is on host n % hosts. */
  void Wire(int hosts, int guests, uint64_t generation = 1, uint64_t colour = 1, std::optional<uint64_t> keep = {}, uint8_t incarnation = 1) {
    Generation next;
    next.generation = generation;
    next.incarnation = Incarnation(incarnation);
    next.colour = colour;
    for (int h = 0; h < hosts; h++) {
      PeerAt peer{static_cast<uint8_t>(h), lives.contains(h) ? lives.at(h) : LifeOf(h), {}};
      CHECK(ParseEndpoint("127.0.0.1", static_cast<uint16_t>(kFirstPort + h), peer.endpoint));
      next.peers.push_back(peer);
    }
    for (int g = 0; g < guests; g++) next.macs.push_back({MacOfGuest(g), static_cast<uint8_t>(g % hosts)});
    Do([&](Switch& s) { s.SetGeneration(next, keep); });
  }
  void Hold() {
    Do([](Switch& s) { s.Hold(); });
  }
  void Drain() {
    Do([](Switch& s) { s.Drain(); });
  }
  void Flip(uint64_t epoch) {
    Do([&](Switch& s) { s.Flip(epoch); });
  }
  void Release() {
    Do([](Switch& s) { s.Release(); });
  }
  void Cut(uint64_t epoch) {
    Hold();
    Flip(epoch);
    Release();
  }
  std::future<ChannelState> AskChannels(uint64_t epoch, int timeout_ms = 2000) {
    auto promise = std::make_shared<std::promise<ChannelState>>();
    fabric->Post([=, this](Switch& s) {
      s.AskChannelState(epoch, timeout_ms * 1000, [=, this](Failure failure, std::vector<LoggedFrame> frames, std::vector<int> down) {
        auto state = std::make_shared<ChannelState>(ChannelState{std::move(failure), std::move(frames), std::move(down)});
        fabric->After([=] { promise->set_value(std::move(*state)); });
      });
    });
    return promise->get_future();
  }
  ChannelState Channels(uint64_t epoch, int timeout_ms = 2000) { return AskChannels(epoch, timeout_ms).get(); }
  Released ReleaseOutput(uint64_t epoch) {
    return Ask<Released>([&](Switch& s) { return s.ReleaseOutput(epoch); });
  }
  Stats stats() const { return fabric->Snapshot(); }
  std::vector<Pressure> Pressures() {
    const std::lock_guard lock(mutex_);
    std::vector<Pressure> seen;
    for (const Event& event : events_) {
      if (event.kind == Event::Kind::OutputBound) seen.push_back(event.pressure);
    }
    return seen;
  }
  size_t Events(Event::Kind kind) {
    const std::lock_guard lock(mutex_);
    size_t count = 0;
    for (const Event& event : events_) count += event.kind == kind;
    return count;
  }
  const int number;
  /** Of peers whose agent is not in its first life. */
  std::map<int, Id> lives;
  std::unique_ptr<Fabric> fabric;

 private:
  std::mutex mutex_;
  std::vector<Event> events_;
};

/** Says to a host what the test wants, as if from another, sealed with a key or with none. */
class Speaker {
 public:
  Speaker() : fd_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {}
  ~Speaker() { close(fd_); }
  void SendBytes(int host, const Bytes& bytes) {
    Endpoint to;
    CHECK(ParseEndpoint("127.0.0.1", static_cast<uint16_t>(kFirstPort + host), to));
    sendto(fd_, bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&to.address), to.bytes);
  }
  void Send(int host, const Header& header, const Key& key, const Bytes& body = {}) { SendBytes(host, Sealed(header, key, body)); }
  static Bytes Sealed(const Header& header, const Key& key, const Bytes& body = {}) {
    Bytes bytes(kMaxHeaderBytes);
    bytes.resize(EncodeHeader(header, bytes.data()));
    bytes.insert(bytes.end(), body.begin(), body.end());
    Reseal(bytes, key, bytes.size());
    return bytes;
  }
  /** The MAC over the first `length` bytes, behind them. */
  static void Reseal(Bytes& bytes, const Key& key, size_t length) {
    bytes.resize(length);
    const SealBytes seal = SealOf(key, bytes.data(), length, nullptr, 0);
    bytes.insert(bytes.end(), seal.begin(), seal.end());
  }
  /** As host `from` would begin. */
  static Header HeaderFrom(int from, int to, Kind kind, uint64_t generation = 1, uint8_t incarnation = 1) {
    Header header;
    header.kind = kind;
    header.source = static_cast<uint8_t>(from);
    header.destination = static_cast<uint8_t>(to);
    header.cluster = ClusterId();
    header.incarnation = Incarnation(incarnation);
    header.life = LifeOf(from);
    header.generation = generation;
    header.session = 5;
    header.colour = 1;
    header.sequence = 1;
    return header;
  }

 private:
  int fd_;
};

/** Waits until something becomes so (other threads make it so). */
inline void Until(const std::function<bool()>& so) {
  for (int i = 0; i < 5000; i++) {
    if (so()) return;
    usleep(1000);
  }
  CHECK(!"it became so");
}

}  // namespace lab
