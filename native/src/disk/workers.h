// A few threads for what would keep the serving thread: reads that miss the page cache, tidying.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace virtcft {

class Workers {
 public:
  explicit Workers(size_t most) : most_(most) {}
  ~Workers() { close(); }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /** Jobs do not throw. Who posts bounds how many there are. */
  void post(std::function<void()> job);
  /** Ends what runs, forgets the rest. */
  void close();

 private:
  void run();
  size_t most_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> jobs_;
  size_t idle_ = 0;
  bool closed_ = false;
  std::vector<std::thread> threads_;  // started when needed
};

}  // namespace virtcft
