#include "lane.h"

namespace virtcft {

namespace {
constexpr size_t kWaitingJobs = 256;  // far more than an agent has reason to queue; a caller that never waits is told so
}

bool Lane::post(Job job) {
  std::lock_guard lock(mutex_);
  if (closed_ || jobs_.size() >= kWaitingJobs) return false;
  jobs_.push_back(std::move(job));
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  ready_.notify_one();
  return true;
}

void Lane::close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    ready_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void Lane::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ready_.wait(lock, [this] { return closed_ || !jobs_.empty(); });
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
