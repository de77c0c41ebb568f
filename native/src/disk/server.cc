#include "server.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>

#include "../memory/failure.h"

namespace virtcft {

namespace {

constexpr uint64_t kListenerId = 0, kWakeupId = 1;
constexpr auto kTidyPause = std::chrono::seconds(1);  // after a tidying that failed: the disk may be full for long

Descriptor listenAt(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    throw Failure(code::kInvalid, "socket path " + path + " must have 1 to " + std::to_string(sizeof address.sun_path - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) ::unlink(path.c_str());  // an earlier process left it
  Descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(fd.get(), kMostConnections) != 0) {
    failWith(code::kIo, "listen at " + path);
  }
  return fd;
}

void watchFor(int epoll, int fd, uint64_t id, uint32_t events, int how) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  if (::epoll_ctl(epoll, how, fd, &event) != 0) failWith(code::kIo, "epoll_ctl");
}

}  // namespace

Server::Server(DiskImage& image, const std::string& path, Wanted wanted, Counts& counts)
    : image_(image), path_(path), wanted_(std::move(wanted)), counts_(counts), listener_(listenAt(path)), epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      wakeup_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!epoll_ || !wakeup_) failWith(code::kIo, "make the disk server's poll");
  watchFor(epoll_.get(), listener_.get(), kListenerId, EPOLLIN, EPOLL_CTL_ADD);
  watchFor(epoll_.get(), wakeup_.get(), kWakeupId, EPOLLIN, EPOLL_CTL_ADD);
  thread_ = std::thread([this] { run(); });
}

Server::~Server() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  kick();
  thread_.join();
  workers_.close();
  ::unlink(path_.c_str());
}

void Server::kick() const {
  const uint64_t one = 1;
  // The only way this fails is a counter at its limit: then the thread is awake anyway.
  static_cast<void>(!::write(wakeup_.get(), &one, sizeof one));
}

void Server::cut() {
  std::unique_lock lock(mutex_);
  cutAsked_ = true;
  kick();
  obeyed_.wait(lock, [this] { return !cutAsked_ || ended_; });
}

void Server::resume() {
  std::lock_guard lock(mutex_);
  resumeAsked_ = true;
  kick();
}

void Server::supplied() {
  std::lock_guard lock(mutex_);
  suppliedAsked_ = true;
  kick();
}

std::vector<BlockNumber> Server::waiting() const {
  std::lock_guard lock(mutex_);
  return {asked_.begin(), asked_.end()};
}

void Server::run() {
  try {
    while (!stop_) turn();
  } catch (const std::exception&) {
    // epoll itself has failed: clients see the end of their connections, and the next `serve` makes a new server.
  }
  while (!connections_.empty()) close(connections_.begin()->first);
  std::lock_guard lock(mutex_);
  ended_ = true;
  obeyed_.notify_all();
}

void Server::turn() {
  std::array<epoll_event, kMostConnections + 2> events;
  const int ready = ::epoll_wait(epoll_.get(), events.data(), events.size(), -1);
  if (ready < 0 && errno != EINTR) failWith(code::kIo, "epoll_wait");
  for (int i = 0; i < ready; i++) {
    const uint64_t id = events[i].data.u64;
    if (id == kListenerId) {
      accept();
    } else if (id == kWakeupId) {
      uint64_t drained;
      static_cast<void>(!::read(wakeup_.get(), &drained, sizeof drained));
      obey();
    } else if (const auto found = connections_.find(id); found != connections_.end()) {
      const bool gone = events[i].events & (EPOLLHUP | EPOLLERR);
      if (gone && !found->second->mayTake() && !found->second->stuck()) {
        close(id);  // nobody waits for what it still has to be told
      } else {
        attend(*found->second, gone || events[i].events & EPOLLIN);
      }
    }
  }
  tidyWhenDue();
}

void Server::obey() {
  bool cut, resume, supplied;
  {
    std::lock_guard lock(mutex_);
    cut = cutAsked_;
    resume = std::exchange(resumeAsked_, false);
    supplied = std::exchange(suppliedAsked_, false);
  }
  takeFinished();
  if (supplied) retryParked();
  if (cut) {
    while (!connections_.empty()) close(connections_.begin()->first);
    paused_ = true;
    watchFor(epoll_.get(), listener_.get(), kListenerId, 0, EPOLL_CTL_MOD);
    std::lock_guard lock(mutex_);
    cutAsked_ = false;
    obeyed_.notify_all();
  } else if (resume && paused_) {
    paused_ = false;
    watchFor(epoll_.get(), listener_.get(), kListenerId, EPOLLIN, EPOLL_CTL_MOD);
  }
}

void Server::accept() {
  while (!paused_) {
    Descriptor fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return;
    if (connections_.size() >= kMostConnections) {
      // Who has not said what it wants gives way, the oldest first.
      const auto silent = std::find_if(connections_.begin(), connections_.end(), [](const auto& each) { return !each.second->entered(); });
      if (silent == connections_.end()) continue;
      close(silent->first);
    }
    const uint64_t id = ++lastId_;
    auto& connection = connections_[id] = std::make_unique<Connection>(std::move(fd), id, image_.bytes());
    watchFor(epoll_.get(), connection->fd(), id, connection->polled = EPOLLIN, EPOLL_CTL_ADD);
    counts_.connections = connections_.size();
    attend(*connection, false);
  }
}

void Server::close(uint64_t id) {
  const auto found = connections_.find(id);
  busy_ -= found->second->counted;
  std::erase_if(parked_, [id](const Waiting& waiting) { return waiting.connection == id; });
  connections_.erase(found);  // closing the socket takes it out of epoll
  counts_.connections = connections_.size();
  if (parked_.empty()) {
    std::lock_guard lock(mutex_);
    asked_.clear();
  }
}

void Server::attend(Connection& connection, bool readable, const std::function<void()>& first) {
  bool lives = false;
  try {
    if (first) first();
    lives = exchange(connection, readable);
  } catch (const std::exception&) {
    // No memory, or a journal that cannot be written: nothing may be answered, and the client tries again on a new connection.
  }
  if (!lives) {
    close(connection.id());
    return;
  }
  count(connection);
  watch(connection);
}

bool Server::exchange(Connection& connection, bool readable) {
  if (!send(connection) || !takeRequests(connection)) return false;
  for (int turns = 0; readable && turns < kTurnsPerWake && connection.mayTake(); turns++) {
    const Connection::Received received = connection.receive();
    if (received == Connection::Received::kNothing) break;
    if (received == Connection::Received::kEnd || !takeRequests(connection)) return false;
  }
  return true;
}

bool Server::takeRequests(Connection& connection) {
  if (!connection.entered() && !connection.shakeHands()) {
    static_cast<void>(send(connection));
    return false;
  }
  while (connection.entered() && connection.mayTake()) {
    nbd::Request request;
    const uint8_t* payload = nullptr;
    const Connection::Next next = connection.next(request, payload);
    if (next == Connection::Next::kMore) break;
    if (next == Connection::Next::kBad || request.command == nbd::kDisconnect) {
      static_cast<void>(send(connection));
      return false;
    }
    take(connection, request, payload);
    connection.done(request);
    if (connection.unsentBytes() >= kSendBytes && !send(connection)) return false;
  }
  return send(connection);
}

bool Server::send(Connection& connection) {
  image_.commit();  // what is answered outlives this process
  // Counted as answered before the client can know: it may stop its VM at once, and a cut then asks whether anything is unanswered.
  const size_t waiting = connection.waitingRequests;
  busy_ += waiting - connection.counted;
  connection.counted = waiting;
  return connection.send();
}

void Server::count(Connection& connection) {
  const size_t now = connection.waitingRequests + connection.unfinished();
  busy_ += now - connection.counted;
  connection.counted = now;
}

void Server::watch(Connection& connection) {
  uint32_t events = connection.mayTake() ? uint32_t{EPOLLIN} : 0;
  if (connection.stuck()) events = EPOLLOUT;
  if (events == connection.polled) return;
  watchFor(epoll_.get(), connection.fd(), connection.id(), connection.polled = events, EPOLL_CTL_MOD);
}

void Server::tidyWhenDue() {
  if (!image_.untidy() || tidying_.load() || std::chrono::steady_clock::now() < tidyAgain_) return;
  tidying_ = true;
  tidyAgain_ = std::chrono::steady_clock::now() + kTidyPause;
  workers_.post([this] {
    try {
      image_.tidy();
    } catch (const std::exception&) {
      // The journal stays as it is and only grows; the next turn tries again.
    }
    tidying_ = false;
  });
}

}  // namespace virtcft
