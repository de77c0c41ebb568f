// The `onWanted` callback of a fill, of memory and of disks.
#pragma once
#include <napi.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "page.h"

namespace virtcft {

/** The `onWanted` callback: page or block numbers go to the event loop in batches; it does not keep the loop alive. */
class WantedCallback {
 public:
  WantedCallback(Napi::Env env, const Napi::Function& callback) : function_(Function::New(env, callback, "virtcft.wanted", 0, 1)) { function_.Unref(env); }
  ~WantedCallback() { function_.Release(); }
  WantedCallback(const WantedCallback&) = delete;
  WantedCallback& operator=(const WantedCallback&) = delete;

  /** On any thread. Every page is asked for once, so what waits here is bounded by the guest's memory or disk. */
  void call(const std::vector<PageNumber>& pages) {
    auto batch = std::make_unique<std::vector<PageNumber>>(pages);
    if (function_.NonBlockingCall(batch.get()) == napi_ok) batch.release();
  }

 private:
  static void deliver(Napi::Env env, Napi::Function callback, std::nullptr_t*, std::vector<PageNumber>* pages) {
    const std::unique_ptr<std::vector<PageNumber>> owned(pages);
    if (env == nullptr) return;
    Napi::Uint32Array array = Napi::Uint32Array::New(env, owned->size());
    std::copy(owned->begin(), owned->end(), array.Data());
    callback.Call({array});
  }
  using Function = Napi::TypedThreadSafeFunction<std::nullptr_t, std::vector<PageNumber>, &WantedCallback::deliver>;
  Function function_;
};

}  // namespace virtcft
