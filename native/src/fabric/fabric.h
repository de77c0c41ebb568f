#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "socket.h"
#include "switch.h"

namespace virtcft::fabric {

/** A switch and the thread that runs it. Every method may be called from any thread, except where it says. */
class Fabric final : public Watcher {
 public:
  using Command = std::function<void(Switch&)>;
  using EventSink = std::function<void(std::vector<Event>)>;

  /** Opens the sockets and starts the thread; null and `failure` when a socket cannot be had. `onEvents` runs on the thread. */
  static std::unique_ptr<Fabric> Open(const Options& options, EventSink onEvents, Failure& failure);
  ~Fabric();
  /** Runs the command on the thread, after those posted before; false when the fabric is closed. */
  bool Post(Command command);
  /** On the thread, from a command: runs `reply` once what the command did is sent and visible in `Snapshot`. */
  void After(std::function<void()> reply) { replies_.push_back(std::move(reply)); }
  Stats Snapshot() const;
  /** Runs what is posted, abandons what waits, joins the thread, closes the sockets. Idempotent. */
  void Close();

 private:
  Fabric(EventSink onEvents) : onEvents_(std::move(onEvents)) {}
  void Run();
  void Handle(uint64_t tag, uint32_t ready);
  void RunCommands();
  void ArmWriters();
  void Finish();
  void Watch(Port& port, bool reading) override;
  void Unwatch(Port& port) override;
  void SetWriter(int fd, uint64_t tag, bool armed, bool& state);

  EventSink onEvents_;
  Descriptor poll_;
  Descriptor wake_;
  std::unique_ptr<Switch> switch_;
  std::thread thread_;

  mutable std::mutex mutex_;  // guards the three below
  std::vector<Command> commands_;
  bool closed_ = false;
  Stats stats_;

  // The thread's own.
  std::vector<std::function<void()>> replies_;
  std::set<Mac> watched_;
  std::set<Mac> armed_;
  bool tunnelArmed_ = false;
  bool edgeArmed_ = false;
};

}  // namespace virtcft::fabric
