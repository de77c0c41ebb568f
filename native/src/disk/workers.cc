#include "workers.h"

namespace virtcft {

void Workers::post(std::function<void()> job) {
  std::lock_guard lock(mutex_);
  if (closed_) return;
  jobs_.push_back(std::move(job));
  if (idle_ < jobs_.size() && threads_.size() < most_) threads_.emplace_back([this] { run(); });
  ready_.notify_one();
}

void Workers::close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    jobs_.clear();
  }
  ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Workers::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    idle_++;
    ready_.wait(lock, [this] { return closed_ || !jobs_.empty(); });
    idle_--;
    if (closed_) return;
    const std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    lock.lock();
  }
}

}  // namespace virtcft
