#include "fill.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>

#include "failure.h"
#include "kernel_abi.h"

namespace virtcft {

namespace {
constexpr size_t kPrefetchPages = 32;  // per batch: a fault that comes meanwhile waits some 50 microseconds for it
}

Fill::Fill(std::shared_ptr<Userfault> userfault, const Image& image, View view, PageBits& filled, Wanted wanted, std::function<void()> done)
    : userfault_(std::move(userfault)), image_(image), view_(std::move(view)), filled_(filled), wanted_(std::move(wanted)), done_(std::move(done)),
      wakeup_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!wakeup_) failWith(code::kIo, "eventfd");
  thread_ = std::thread([this] { run(); });
}

Fill::~Fill() {
  stop_.store(true);
  kick();
  thread_.join();
}

void Fill::kick() {
  const uint64_t one = 1;
  // The only way this fails is a counter at its limit: then the thread is awake anyway.
  if (::write(wakeup_.get(), &one, sizeof one) < 0 && errno != EAGAIN) failWith(code::kIo, "wake the fill thread");
}

std::vector<PageNumber> Fill::waiting() const {
  std::lock_guard lock(mutex_);
  return {waiting_.begin(), waiting_.end()};
}

std::string Fill::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

void Fill::run() {
  try {
    bool fetching = true;
    while (!stop_.load()) {
      if (filled_.count() == filled_.size()) {
        userfault_->wake(0, filled_.size() * kPageBytes);
        done_();
        return;
      }
      std::array<pollfd, 2> polls{{{userfault_->fd(), POLLIN, 0}, {wakeup_.get(), POLLIN, 0}}};
      if (::poll(polls.data(), polls.size(), fetching ? 0 : -1) < 0 && errno != EINTR) failWith(code::kIo, "poll for faults");
      if (polls[1].revents & POLLIN) {
        uint64_t drained = 0;
        if (::read(wakeup_.get(), &drained, sizeof drained) < 0 && errno != EAGAIN) failWith(code::kIo, "read the fill thread's wake-up");
        serveWaiting();
        cursor_ = 0;
        fetching = true;
      }
      if (polls[0].revents & POLLIN) {
        serveFaults();
        continue;
      }
      if (fetching) fetching = prefetch();
    }
  } catch (const std::exception& error) {
    // The guest is left blocked on its missing pages, which is safe; the owner sees `failure` in the next call and restores again.
    std::lock_guard lock(mutex_);
    failure_ = error.what();
  }
}

void Fill::serveFaults() {
  std::array<uffd_msg, 64> messages;
  const ssize_t got = ::read(userfault_->fd(), messages.data(), sizeof messages);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    failWith(code::kProcess, "read a guest's faults");
  }
  ask_.clear();
  for (size_t i = 0; i < static_cast<size_t>(got) / sizeof messages[0]; i++) {
    if (messages[i].event != UFFD_EVENT_PAGEFAULT) continue;
    faults_.fetch_add(1, std::memory_order_relaxed);
    serve(static_cast<PageNumber>((messages[i].arg.pagefault.address - userfault_->range().start) / kPageBytes));
  }
  if (!ask_.empty()) wanted_(ask_);
}

void Fill::serve(PageNumber page) {
  if (filled_.test(page)) {
    userfault_->wake(size_t{page} * kPageBytes, kPageBytes);
    return;
  }
  if (image_.present(page)) {
    while (place(page, 1) == 0 && !stop_.load()) {
    }
    return;
  }
  std::lock_guard lock(mutex_);
  if (waiting_.insert(page).second) ask_.push_back(page);
}

void Fill::serveWaiting() {
  for (const PageNumber page : waiting()) {
    if (!image_.present(page)) continue;
    serve(page);
    std::lock_guard lock(mutex_);
    waiting_.erase(page);
  }
}

bool Fill::prefetch() {
  const bool complete = image_.complete();
  while (cursor_ < filled_.size() && (filled_.test(cursor_) || !image_.present(static_cast<PageNumber>(cursor_)))) {
    if (complete) {
      cursor_++;
    } else {
      cursor_ = std::max(cursor_ + 1, image_.presentPages().firstNotIn(filled_, cursor_ + 1));
    }
  }
  if (cursor_ >= filled_.size()) return false;
  size_t count = 0;
  while (count < kPrefetchPages && cursor_ + count < filled_.size() && !filled_.test(cursor_ + count) &&
         image_.present(static_cast<PageNumber>(cursor_ + count))) {
    count++;
  }
  const size_t placed = place(static_cast<PageNumber>(cursor_), count);
  prefetched_.fetch_add(placed, std::memory_order_relaxed);
  cursor_ += placed;
  return true;
}

size_t Fill::place(PageNumber first, size_t count) {
  // Only base pages lie side by side.
  const bool layered = view_.layered(first);
  size_t run = 1;
  while (!layered && run < count && !view_.layered(static_cast<PageNumber>(first + run))) run++;
  const auto copied = userfault_->copy(size_t{first} * kPageBytes, view_.content(first), run * kPageBytes);
  size_t pages = copied.bytes / kPageBytes;
  if (copied.error == EEXIST) {
    userfault_->wake(size_t{first} * kPageBytes, kPageBytes);
    pages = 1;
  } else if (copied.error != 0 && copied.error != EAGAIN) {
    failWith(code::kProcess, "fill guest memory", copied.error);
  }
  for (size_t i = 0; i < pages; i++) filled_.set(first + i);
  return pages;
}

}  // namespace virtcft
