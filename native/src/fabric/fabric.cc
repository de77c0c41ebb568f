#include "fabric.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace virtcft::fabric {
namespace {

// What an epoll entry stands for; a port's are its MAC and these two bits.
constexpr uint64_t kWake = 1, kTunnel = 2, kEdge = 3;
constexpr uint64_t kPortReads = uint64_t{1} << 62, kPortWrites = uint64_t{1} << 63;
constexpr Mac kMacBits = kBroadcast;

void Control(int poll, int operation, int fd, uint32_t events, uint64_t tag) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  epoll_ctl(poll, operation, fd, &event);
}

}  // namespace

std::unique_ptr<Fabric> Fabric::Open(const Options& options, EventSink onEvents, Failure& failure) {
  if (!PrepareSeals()) {
    failure = {"EIO", "libsodium cannot be used on this machine"};
    return nullptr;
  }
  auto tunnel = Tunnel::Open(options.address, options.port, failure);
  if (!tunnel) return nullptr;
  std::unique_ptr<Edge> edge;
  if (!options.edge.empty()) {
    edge = Edge::Open(options.edge, failure);
    if (!edge) return nullptr;
  }
  std::unique_ptr<Fabric> fabric(new Fabric(std::move(onEvents)));
  fabric->poll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
  fabric->wake_ = Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fabric->poll_ || !fabric->wake_) {
    failure = SystemFailure(errno, "opening the event loop");
    return nullptr;
  }
  Control(fabric->poll_.get(), EPOLL_CTL_ADD, fabric->wake_.get(), EPOLLIN, kWake);
  Control(fabric->poll_.get(), EPOLL_CTL_ADD, tunnel->fd(), EPOLLIN, kTunnel);
  if (edge) Control(fabric->poll_.get(), EPOLL_CTL_ADD, edge->fd(), EPOLLIN, kEdge);
  fabric->switch_ = std::make_unique<Switch>(options, std::move(tunnel), std::move(edge), *fabric);
  fabric->thread_ = std::thread([raw = fabric.get()] { raw->Run(); });
  return fabric;
}

Fabric::~Fabric() { Close(); }

bool Fabric::Post(Command command) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    commands_.push_back(std::move(command));
  }
  eventfd_write(wake_.get(), 1);
  return true;
}

Stats Fabric::Snapshot() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void Fabric::Close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  if (!thread_.joinable()) return;
  eventfd_write(wake_.get(), 1);
  thread_.join();
  switch_.reset();
}

void Fabric::Run() {
  std::array<epoll_event, 64> ready;
  for (bool open = true; open;) {
    const int64_t deadline_us = switch_->NextDeadline();
    int timeout_ms = -1;
    if (deadline_us != INT64_MAX) timeout_ms = static_cast<int>(std::clamp<int64_t>((deadline_us - Now() + 999) / 1000, 0, 60'000));
    const int count = epoll_wait(poll_.get(), ready.data(), static_cast<int>(ready.size()), timeout_ms);
    RunCommands();
    for (int i = 0; i < count; i++) Handle(ready[static_cast<size_t>(i)].data.u64, ready[static_cast<size_t>(i)].events);
    if (Now() >= deadline_us) switch_->OnTimer();
    {
      const std::lock_guard lock(mutex_);
      open = !closed_ || !commands_.empty();
    }
    if (!open) switch_->Abandon({"ECLOSED", "the fabric was closed"});
    Finish();
  }
}

/** Sends what the round queued, shows it, and only then answers. */
void Fabric::Finish() {
  switch_->Flush();
  ArmWriters();
  Stats stats = switch_->Snapshot();
  {
    const std::lock_guard lock(mutex_);
    stats_ = std::move(stats);
  }
  for (auto& reply : std::exchange(replies_, {})) reply();
  if (auto events = switch_->TakeEvents(); !events.empty()) onEvents_(std::move(events));
}

void Fabric::RunCommands() {
  std::vector<Command> commands;
  {
    const std::lock_guard lock(mutex_);
    commands.swap(commands_);
  }
  for (Command& command : commands) command(*switch_);
}

void Fabric::Handle(uint64_t tag, uint32_t ready) {
  if (tag == kWake) {
    eventfd_t count;
    eventfd_read(wake_.get(), &count);
  } else if (tag == kTunnel) {
    if (ready & EPOLLOUT) switch_->tunnel().Flush();
    switch_->OnTunnel();
  } else if (tag == kEdge) {
    if (ready & EPOLLOUT) switch_->edge()->Flush(Now());
    switch_->OnEdge();
  } else {
    // A command of this round may have removed the port.
    const auto port = switch_->ports().find(tag & kMacBits);
    if (port == switch_->ports().end()) return;
    if (ready & (EPOLLERR | EPOLLHUP)) port->second->Failed();
    if (tag & kPortWrites) port->second->Flush(Now());
    else switch_->OnPort(*port->second);
  }
}

void Fabric::Watch(Port& port, bool reading) {
  if (port.receiver() < 0) return;
  const bool known = !watched_.insert(port.nic()).second;
  Control(poll_.get(), known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, port.receiver(), reading ? uint32_t{EPOLLIN} : 0u, port.nic() | kPortReads);
}

void Fabric::Unwatch(Port& port) {
  watched_.erase(port.nic());  // the kernel forgets a closed descriptor by itself
  armed_.erase(port.nic());
}

void Fabric::ArmWriters() {
  for (const auto& [nic, port] : switch_->ports()) {
    const bool armed = armed_.contains(nic);
    if (port->blocked() == armed) continue;
    if (armed) {
      armed_.erase(nic);
      Control(poll_.get(), EPOLL_CTL_DEL, port->sender(), 0, 0);
    } else {
      armed_.insert(nic);
      Control(poll_.get(), EPOLL_CTL_ADD, port->sender(), EPOLLOUT, nic | kPortWrites);
    }
  }
  SetWriter(switch_->tunnel().fd(), kTunnel, switch_->tunnel().blocked(), tunnelArmed_);
  if (switch_->edge()) SetWriter(switch_->edge()->fd(), kEdge, switch_->edge()->blocked(), edgeArmed_);
}

void Fabric::SetWriter(int fd, uint64_t tag, bool armed, bool& state) {
  if (armed == state) return;
  state = armed;
  Control(poll_.get(), EPOLL_CTL_MOD, fd, armed ? EPOLLIN | EPOLLOUT : EPOLLIN, tag);
}

}  // namespace virtcft::fabric
