// A thread that runs jobs one after another.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace virtcft {

class Lane {
 public:
  /** `cancelled`: the lane closed before the job's turn; it must only say so. */
  using Job = std::function<void(bool cancelled)>;

  Lane() = default;
  ~Lane() { close(); }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  /** False when the lane is closed or full: the job is not taken. */
  bool post(Job job);
  /** Waits for the job that runs, cancels the rest. Idempotent. */
  void close();

 private:
  void run();
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Job> jobs_;
  bool closed_ = false;
  std::thread thread_;  // started by the first job
};

}  // namespace virtcft
