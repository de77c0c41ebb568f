// The lazy fill: one thread that serves a guest's faults on missing pages from the image, and fetches ahead.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

#include "image.h"
#include "userfault.h"

namespace virtcft {

struct FillStats {
  size_t faults = 0;
  size_t prefetched = 0;
  size_t present = 0;
  size_t total = 0;
  bool done = false;
};

class Fill {
 public:
  using Wanted = std::function<void(const std::vector<PageNumber>&)>;

  /**
   * `view`: the content at the moment of the attach; it stays true for every page that is not filled, because a guest cannot have written it.
   * `filled`: pages the RAM file holds already. `wanted` is called on this thread, once per page, with pages that a guest waits for.
   */
  Fill(std::shared_ptr<Userfault> userfault, const Image& image, View view, PageBits& filled, Wanted wanted, std::function<void()> done);
  ~Fill();
  Fill(const Fill&) = delete;
  Fill& operator=(const Fill&) = delete;

  /** More pages are present. */
  void kick();
  size_t faults() const { return faults_.load(std::memory_order_relaxed); }
  size_t prefetched() const { return prefetched_.load(std::memory_order_relaxed); }
  /** Pages a guest waits for now. */
  std::vector<PageNumber> waiting() const;
  /** Why the thread ended before it was done; empty when it did not. */
  std::string failure() const;

 private:
  void run();
  void serveFaults();
  void serve(PageNumber page);
  void serveWaiting();
  /** One batch; false when nothing is left to fetch for now. */
  bool prefetch();
  /** Pages put in place, at least one unless the kernel asks to try again. */
  size_t place(PageNumber first, size_t count);

  std::shared_ptr<Userfault> userfault_;
  const Image& image_;
  View view_;
  PageBits& filled_;
  Wanted wanted_;
  std::function<void()> done_;
  Descriptor wakeup_;
  std::atomic<bool> stop_{false};
  std::atomic<size_t> faults_{0};
  std::atomic<size_t> prefetched_{0};
  size_t cursor_ = 0;
  mutable std::mutex mutex_;  // waiting_, failure_
  std::unordered_set<PageNumber> waiting_;
  std::vector<PageNumber> ask_;
  std::string failure_;
  std::thread thread_;
};

}  // namespace virtcft
