// A disk's NBD server: one thread for all its connections.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>

#include "connection.h"
#include "disk_image.h"
#include "workers.h"

namespace virtcft {

class Server {
 public:
  using Wanted = std::function<void(const std::vector<BlockNumber>&)>;
  struct Counts {
    std::atomic<size_t> connections{0}, reads{0}, writes{0}, flushes{0}, read_bytes{0}, written_bytes{0};
    std::atomic<size_t> waited{0};  // requests that came for blocks which a fill had not brought
  };

  /** `wanted` is called on the serving thread, once per block, with blocks that requests wait for. EINVAL for a path too long, EIO. */
  Server(DiskImage& image, const std::string& path, Wanted wanted, Counts& counts);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /** Ends all connections and takes no new one until `resume`. When it returns no request is at work on the disk. */
  void cut();
  void resume();
  /** More blocks are there. */
  void supplied();
  /** Requests that are not answered. */
  size_t busy() const { return busy_.load(); }
  /** Blocks that requests wait for. */
  std::vector<BlockNumber> waiting() const;

 private:
  struct Waiting {
    uint64_t connection;
    nbd::Request request;
    std::unique_ptr<uint8_t[]> bytes;  // of a write, or for a read from the storage
    Answer answer = Answer::kDone;
  };

  void run();
  void turn();
  void obey();
  void accept();
  void close(uint64_t id);
  /** Does `first`, then takes, answers and sends what there is; ends the connection when it must. */
  void attend(Connection& connection, bool readable, const std::function<void()>& first = nullptr);
  bool exchange(Connection& connection, bool readable);
  bool takeRequests(Connection& connection);
  void take(Connection& connection, const nbd::Request& request, const uint8_t* payload);
  Answer attempt(Connection& connection, const nbd::Request& request, const uint8_t* payload);
  static nbd::Error refusal(const nbd::Request& request, size_t diskBytes);
  void conclude(Connection& connection, const nbd::Request& request, Answer answer);
  void park(Connection& connection, const nbd::Request& request, const uint8_t* payload);
  void readFromStorage(Connection& connection, const nbd::Request& request);
  void retryParked();
  void takeFinished();
  bool send(Connection& connection);
  void watch(Connection& connection);
  void count(Connection& connection);
  void kick() const;
  void tidyWhenDue();

  DiskImage& image_;
  std::string path_;
  Wanted wanted_;
  Counts& counts_;
  Descriptor listener_, epoll_, wakeup_;
  std::map<uint64_t, std::unique_ptr<Connection>> connections_;
  uint64_t lastId_ = 1;  // below are the listener and the wake-up
  std::vector<Waiting> parked_;
  std::vector<Place> places_;
  bool paused_ = false;
  std::atomic<size_t> busy_{0};
  std::atomic<bool> tidying_{false};
  std::chrono::steady_clock::time_point tidyAgain_{};

  mutable std::mutex mutex_;  // orders and what workers finished
  std::condition_variable obeyed_;
  bool cutAsked_ = false, resumeAsked_ = false, suppliedAsked_ = false, ended_ = false;
  std::atomic<bool> stop_{false};
  std::vector<Waiting> finished_;
  std::unordered_set<BlockNumber> asked_;
  Workers workers_{kWorkers};
  std::thread thread_;
};

}  // namespace virtcft
