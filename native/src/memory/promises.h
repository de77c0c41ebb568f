// From a lane's thread back to JavaScript: promises that native jobs settle, errors with a code.
#pragma once
#include <napi.h>

#include <functional>
#include <memory>
#include <string>

#include "failure.h"
#include "lane.h"

namespace virtcft {

Napi::Error errorWith(Napi::Env env, const char* code, const std::string& message);
/** Throws the failure that `run` threw, if it did, as a JavaScript error; returns whether all went well. */
bool guarded(Napi::Env env, const std::function<void()>& run);
/** What any exception of a job means. */
Failure failureOf(std::exception_ptr error);

/** The promises of one object. Used on the JavaScript thread; settled through one thread-safe function, which keeps the loop alive only while jobs run. */
class Promises {
 public:
  Promises(Napi::Env env, const char* name);
  ~Promises();
  Promises(const Promises&) = delete;
  Promises& operator=(const Promises&) = delete;

  /**
   * Runs `work` on the lane; `toValue` makes its result a JavaScript value. `keep` (the object itself, a buffer in use) is kept alive until then.
   */
  template <class Result>
  Napi::Promise start(Napi::Env env, Lane& lane, std::initializer_list<Napi::Object> keep, std::function<Result()> work,
                      std::function<Napi::Value(Napi::Env, Result&)> toValue) {
    return post(env, lane, keep, [work = std::move(work), toValue = std::move(toValue)]() -> ToValue {
      auto result = std::make_shared<Result>(work());
      return [result, toValue](Napi::Env inner) { return toValue(inner, *result); };
    });
  }

 private:
  using ToValue = std::function<Napi::Value(Napi::Env)>;
  struct Call;
  struct Door;
  Napi::Promise post(Napi::Env env, Lane& lane, std::initializer_list<Napi::Object> keep, std::function<ToValue()> work);
  static void settle(Napi::Env env, Napi::Function, Door* door, Call* call);
  std::shared_ptr<Door> door_;
};

}  // namespace virtcft
