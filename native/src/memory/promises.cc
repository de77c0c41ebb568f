#include "promises.h"

#include <mutex>
#include <new>
#include <system_error>
#include <vector>

namespace virtcft {

Napi::Error errorWith(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Value().Set("code", Napi::String::New(env, code));
  return error;
}

Failure failureOf(std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const Failure& failure) {
    return failure;
  } catch (const std::bad_alloc&) {
    return Failure(code::kNoMemory, "out of memory");
  } catch (const std::exception& other) {
    return Failure(code::kIo, other.what());
  }
}

bool guarded(Napi::Env env, const std::function<void()>& run) {
  try {
    run();
    return true;
  } catch (...) {
    const Failure failure = failureOf(std::current_exception());
    errorWith(env, failure.code(), failure.what()).ThrowAsJavaScriptException();
    return false;
  }
}

struct Promises::Call {
  explicit Call(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise::Deferred deferred;
  std::vector<Napi::ObjectReference> kept;
  ToValue toValue;  // set when the work succeeded
  std::unique_ptr<Failure> failure;
};

struct Promises::Door {
  using Function = Napi::TypedThreadSafeFunction<Door, Call, &Promises::settle>;
  Function function;
  size_t pending = 0;  // on the JavaScript thread only
  // The environment may end, and the function with it, before this object and its lanes do.
  std::mutex ending;
  bool gone = false;
};

Promises::Promises(Napi::Env env, const char* name) : door_(std::make_shared<Door>()) {
  // The context outlives us: calls may still be settled after the object was closed.
  auto* context = new std::shared_ptr<Door>(door_);
  door_->function = Door::Function::New(env, name, 0, 1, door_.get(), [](Napi::Env, std::shared_ptr<Door>* door, Door*) {
    const std::unique_ptr<std::shared_ptr<Door>> owned(door);
    const std::lock_guard<std::mutex> lock((*owned)->ending);
    (*owned)->gone = true;
  }, context);
  door_->function.Unref(env);
}

Promises::~Promises() {
  // The finaliser runs on this thread too, so `gone` cannot change here; releasing may call it, so no lock is held.
  if (!door_->gone) door_->function.Release();
}

void Promises::settle(Napi::Env env, Napi::Function, Door* door, Call* call) {
  const std::unique_ptr<Call> owned(call);
  if (env == nullptr) return;  // the environment ends: nobody waits any more
  const Napi::HandleScope scope(env);
  if (--door->pending == 0) door->function.Unref(env);
  if (call->failure) {
    call->deferred.Reject(errorWith(env, call->failure->code(), call->failure->what()).Value());
    return;
  }
  const Napi::Value value = call->toValue(env);
  if (env.IsExceptionPending()) {
    call->deferred.Reject(env.GetAndClearPendingException().Value());
  } else {
    call->deferred.Resolve(value);
  }
}

Napi::Promise Promises::post(Napi::Env env, Lane& lane, std::initializer_list<Napi::Object> keep, std::function<ToValue()> work) {
  auto call = std::make_unique<Call>(env);
  for (const Napi::Object& object : keep) call->kept.push_back(Napi::Persistent(object));
  const Napi::Promise promise = call->deferred.Promise();
  Call* raw = call.get();
  const bool taken = lane.post([raw, work = std::move(work), door = door_](bool cancelled) {
    try {
      if (cancelled) throw Failure(code::kClosed, "closed before the call's turn came");
      raw->toValue = work();
    } catch (...) {
      raw->failure = std::make_unique<Failure>(failureOf(std::current_exception()));
    }
    // Refused only while the environment ends; the call's references must not be touched from here then, so it is left to the process's end.
    const std::lock_guard<std::mutex> lock(door->ending);
    if (!door->gone) static_cast<void>(door->function.NonBlockingCall(raw));
  });
  if (!taken) {
    call->deferred.Reject(errorWith(env, code::kBusy, "closed, or too many calls are waiting").Value());
    return promise;
  }
  call.release();
  if (door_->pending++ == 0) door_->function.Ref(env);
  return promise;
}

}  // namespace virtcft
