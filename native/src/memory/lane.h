// Threads that run jobs in the order in which they come: one, unless more are asked for.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace virtcft {

class Lane {
 public:
  /** `cancelled`: the lane closed before the job's turn; it must only say so. */
  using Job = std::function<void(bool cancelled)>;

  /** Far more jobs than an agent has reason to queue: a caller that never waits is told so. */
  static constexpr size_t kWaiting = 256;
  explicit Lane(size_t width = 1, size_t waiting = kWaiting) : width_(width), waiting_(waiting) {}
  ~Lane() { close(); }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  /** False when the lane is closed or full: the job is not taken. */
  bool post(Job job);
  /** Waits for the jobs that run, cancels the rest. Idempotent. */
  void close();

 private:
  void run();
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Job> jobs_;
  bool closed_ = false;
  const size_t width_;
  const size_t waiting_;
  size_t idle_ = 0;
  std::vector<std::thread> threads_;  // started by jobs that find none idle
};

}  // namespace virtcft
