#include "lane.h"

namespace virtcft {

bool Lane::post(Job job) {
  std::lock_guard lock(mutex_);
  if (closed_ || jobs_.size() >= waiting_) return false;
  jobs_.push_back(std::move(job));
  if (jobs_.size() > idle_ && threads_.size() < width_) threads_.emplace_back([this] { run(); });
  ready_.notify_one();
  return true;
}

void Lane::close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    ready_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Lane::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    idle_++;
    ready_.wait(lock, [this] { return closed_ || !jobs_.empty(); });
    idle_--;
    if (jobs_.empty()) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    const bool cancelled = closed_;
    lock.unlock();
    job(cancelled);
    job = nullptr;
    lock.lock();
  }
}

}  // namespace virtcft
