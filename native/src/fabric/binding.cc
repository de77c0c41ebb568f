// The thin side: arguments in, one command for the thread, promises and events out through one thread-safe function.
#include "binding.h"

#include <functional>
#include <memory>

#include "arguments.h"
#include "fabric.h"

namespace virtcft::fabric {
namespace {

using OnLoop = std::function<void(Napi::Env, Napi::Function)>;

/** Runs closures on the event loop; those that the environment's end overtakes are only freed. */
void CallOnLoop(napi_env env, napi_value callback, void*, void* data) {
  const std::unique_ptr<OnLoop> closure(static_cast<OnLoop*>(data));
  if (env == nullptr) return;
  Napi::Env jsEnv(env);
  Napi::HandleScope scope(jsEnv);
  (*closure)(jsEnv, Napi::Function(env, callback));
}

Napi::Error ErrorOf(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.message);
  error.Set("code", Napi::String::New(env, failure.code));
  return error;
}

const char* StateName(Pressure pressure) {
  switch (pressure) {
    case Pressure::Free: return "free";
    case Pressure::Throttled: return "throttled";
    case Pressure::Full: return "full";
  }
  return "full";
}

Napi::Object EventObject(Napi::Env env, const Event& event) {
  auto object = Napi::Object::New(env);
  switch (event.kind) {
    case Event::Kind::NewerColour:
      object.Set("kind", "newer-colour");
      object.Set("colour", static_cast<double>(event.number));
      object.Set("from", event.from);
      break;
    case Event::Kind::ForeignGeneration:
      object.Set("kind", "foreign-generation");
      object.Set("generation", static_cast<double>(event.number));
      object.Set("from", event.from);
      break;
    case Event::Kind::OutputBound:
      object.Set("kind", "output-bound");
      object.Set("state", StateName(event.pressure));
      break;
  }
  return object;
}

void SetNumbers(Napi::Object object, std::initializer_list<std::pair<const char*, uint64_t>> numbers) {
  for (const auto& [name, value] : numbers) object.Set(name, static_cast<double>(value));
}

Napi::Value ChannelStateObject(Napi::Env env, const std::vector<LoggedFrame>& frames, const std::vector<int>& down) {
  auto list = Napi::Array::New(env, frames.size());
  for (uint32_t i = 0; i < frames.size(); i++) {
    auto each = Napi::Object::New(env);
    each.Set("nic", MacText(frames[i].nic));
    each.Set("frame", Napi::Buffer<uint8_t>::Copy(env, frames[i].frame->data(), frames[i].frame->size()));
    list.Set(i, each);
  }
  auto hosts = Napi::Array::New(env, down.size());
  for (uint32_t i = 0; i < down.size(); i++) hosts.Set(i, down[i]);
  auto object = Napi::Object::New(env);
  object.Set("frames", list);
  object.Set("down", hosts);
  return object;
}

class FabricObject : public Napi::ObjectWrap<FabricObject> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Fabric",
                       {InstanceMethod<&FabricObject::AddPort>("addPort"), InstanceMethod<&FabricObject::RemovePort>("removePort"),
                        InstanceMethod<&FabricObject::SetGeneration>("setGeneration"), InstanceMethod<&FabricObject::Hold>("hold"),
                        InstanceMethod<&FabricObject::Drain>("drain"),
                        InstanceMethod<&FabricObject::Flip>("flip"), InstanceMethod<&FabricObject::Release>("release"),
                        InstanceMethod<&FabricObject::ChannelState>("channelState"),
                        InstanceMethod<&FabricObject::ReleaseOutput>("releaseOutput"),
                        InstanceMethod<&FabricObject::SetPassThrough>("setPassThrough"), InstanceMethod<&FabricObject::Inject>("inject"),
                        InstanceMethod<&FabricObject::Announce>("announce"), InstanceMethod<&FabricObject::StatsOf>("stats"),
                        InstanceMethod<&FabricObject::Close>("close")});
  }

  explicit FabricObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<FabricObject>(info) {
    const Napi::Env env = info.Env();
    Arguments arguments(env);
    const Options options = arguments.FabricOptions(info[0]);
    Failure failure = arguments.failure();
    if (!failure && !info[1].IsFunction()) failure = {"EINVAL", "onEvents must be a function"};
    if (failure) {
      ErrorOf(env, failure).ThrowAsJavaScriptException();
      return;
    }
    napi_threadsafe_function loop = nullptr;
    if (napi_create_threadsafe_function(env, info[1], nullptr, Napi::String::New(env, "virtcft.fabric"), 0, 1, nullptr, nullptr, nullptr, CallOnLoop,
                                        &loop) != napi_ok) {
      ErrorOf(env, {"EIO", "the fabric's channel to the event loop could not be opened"}).ThrowAsJavaScriptException();
      return;
    }
    fabric_ = Fabric::Open(
        options, [loop](std::vector<Event> events) { Send(loop, [events = std::move(events)](Napi::Env e, Napi::Function js) { Tell(e, js, events); }); },
        failure);
    if (!fabric_) {
      napi_release_threadsafe_function(loop, napi_tsfn_release);
      ErrorOf(env, failure).ThrowAsJavaScriptException();
      return;
    }
    loop_ = loop;
    napi_add_env_cleanup_hook(env, Ended, this);
    Ref();  // an open fabric is not collected: its ports serve guests
  }

  ~FabricObject() override { Shut(); }

 private:
  static void Tell(Napi::Env env, Napi::Function onEvents, const std::vector<Event>& events) {
    auto list = Napi::Array::New(env, events.size());
    for (uint32_t i = 0; i < events.size(); i++) list.Set(i, EventObject(env, events[i]));
    onEvents.Call({list});
    if (!env.IsExceptionPending()) return;
    // What the callback throws is the program's error, not the fabric's: it goes where uncaught errors go.
    napi_fatal_exception(env, env.GetAndClearPendingException().Value());
  }

  static void Send(napi_threadsafe_function loop, OnLoop closure) {
    auto owned = std::make_unique<OnLoop>(std::move(closure));
    if (napi_call_threadsafe_function(loop, owned.get(), napi_tsfn_nonblocking) == napi_ok) owned.release();
  }

  static void Ended(void* self) { static_cast<FabricObject*>(self)->Shut(); }

  void Shut() {
    if (!fabric_) return;
    napi_remove_env_cleanup_hook(Env(), Ended, this);
    fabric_.reset();  // joins; every answer is in the queue now
    napi_release_threadsafe_function(loop_, napi_tsfn_release);
  }

  using Value = std::function<Napi::Value(Napi::Env)>;
  struct Answer {
    Napi::Promise::Deferred deferred;
    napi_threadsafe_function loop;
    void Give(Failure failure, Value value) const {
      Send(loop, [deferred = deferred, failure = std::move(failure), value = std::move(value)](Napi::Env env, Napi::Function) {
        if (failure) deferred.Reject(ErrorOf(env, failure).Value());
        else deferred.Resolve(value ? value(env) : env.Undefined());
      });
    }
  };

  /** One command; `run` gets the fabric (for After) and the answer to give. */
  Napi::Value Order(Napi::Env env, const Arguments& arguments, std::function<void(Switch&, Fabric&, const Answer&)> run) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    Failure failure = arguments.failure();
    if (!failure && !fabric_) failure = {"ECLOSED", "the fabric was closed"};
    if (failure) {
      deferred.Reject(ErrorOf(env, failure).Value());
      return deferred.Promise();
    }
    fabric_->Post([fabric = fabric_.get(), answer = Answer{deferred, loop_}, run = std::move(run)](Switch& s) { run(s, *fabric, answer); });
    return deferred.Promise();
  }
  Napi::Value Order(Napi::Env env, const Arguments& arguments, std::function<Failure(Switch&)> run) {
    return Order(env, arguments, [run = std::move(run)](Switch& s, Fabric& fabric, const Answer& answer) {
      fabric.After([answer, failure = run(s)] { answer.Give(failure, nullptr); });
    });
  }
  Napi::Value Plain(Napi::Env env, const Arguments& arguments, std::function<void(Switch&)> run) {
    return Order(env, arguments, [run = std::move(run)](Switch& s) -> Failure {
      run(s);
      return {};
    });
  }

  Napi::Value AddPort(const Napi::CallbackInfo& info) {
    Arguments arguments(info.Env());
    return Order(info.Env(), arguments, [port = arguments.FabricPort(info[0])](Switch& s) { return s.AddPort(port); });
  }
  Napi::Value RemovePort(const Napi::CallbackInfo& info) {
    Arguments arguments(info.Env());
    const Mac nic = arguments.Address(info[0], "nic");
    return Order(info.Env(), arguments, [nic](Switch& s) { return s.RemovePort(nic); });
  }
  Napi::Value SetGeneration(const Napi::CallbackInfo& info) {
    Arguments arguments(info.Env());
    const Generation next = arguments.FabricGeneration(info[0]);
    const auto keep = arguments.NumberOrNull(info[1], "keepOutputUpTo", kMostSafe);
    return Plain(info.Env(), arguments, [next, keep](Switch& s) { s.SetGeneration(next, keep); });
  }
  Napi::Value Hold(const Napi::CallbackInfo& info) {
    return Plain(info.Env(), Arguments(info.Env()), [](Switch& s) { s.Hold(); });
  }
  Napi::Value Drain(const Napi::CallbackInfo& info) {
    return Plain(info.Env(), Arguments(info.Env()), [](Switch& s) { s.Drain(); });
  }
  Napi::Value Flip(const Napi::CallbackInfo& info) {
    Arguments arguments(info.Env());
    const uint64_t epoch = arguments.Number(info[0], "epoch", kMostSafe - 1);
    return Plain(info.Env(), arguments, [epoch](Switch& s) { s.Flip(epoch); });
  }
  Napi::Value Release(const Napi::CallbackInfo& info) {
    return Plain(info.Env(), Arguments(info.Env()), [](Switch& s) { s.Release(); });
  }
  Napi::Value ChannelState(const Napi::CallbackInfo& info) {
    Arguments arguments(info.Env());
    const uint64_t epoch = arguments.Number(info[0], "epoch", kMostSafe - 1);
    const auto timeout_us = static_cast<int64_t>(arguments.Number(info[1], "timeout_ms", 3'600'000)) * 1000;
    return Order(info.Env(), arguments, [epoch, timeout_us](Switch& s, Fabric& fabric, const Answer& answer) {
      s.AskChannelState(epoch, timeout_us, [&fabric, answer](Failure failure, std::vector<LoggedFrame> frames, std::vector<int> down) {
        fabric.After([answer, failure = std::move(failure), frames = std::move(frames), down = std::move(down)]() mutable {
          answer.Give(std::move(failure), [frames = std::move(frames), down = std::move(down)](Napi::Env env) {
            return ChannelStateObject(env, frames, down);
          });
        });
      });
    });
  }
  Napi::Value ReleaseOutput(const Napi::CallbackInfo& info) {
    Arguments arguments(info.Env());
    const uint64_t epoch = arguments.Number(info[0], "epoch", kMostSafe);
    return Order(info.Env(), arguments, [epoch](Switch& s, Fabric& fabric, const Answer& answer) {
      fabric.After([answer, released = s.ReleaseOutput(epoch)] {
        answer.Give({}, [released](Napi::Env env) -> Napi::Value {
          auto object = Napi::Object::New(env);
          object.Set("frames", static_cast<double>(released.frames));
          object.Set("bytes", static_cast<double>(released.bytes));
          object.Set("oldest_us", static_cast<double>(released.oldest_us));
          return object;
        });
      });
    });
  }
  Napi::Value SetPassThrough(const Napi::CallbackInfo& info) {
    Arguments arguments(info.Env());
    const bool pass = arguments.Flag(info[0], "pass");
    return Plain(info.Env(), arguments, [pass](Switch& s) { s.SetPassThrough(pass); });
  }
  Napi::Value Inject(const Napi::CallbackInfo& info) {
    Arguments arguments(info.Env());
    const auto frames = arguments.Frames(info[0]);
    return Order(info.Env(), arguments, [frames](Switch& s) { return s.Inject(frames); });
  }
  Napi::Value Announce(const Napi::CallbackInfo& info) {
    Arguments arguments(info.Env());
    const Mac nic = arguments.Address(info[0], "nic");
    const auto ip = arguments.Ip(info[1], "ip");
    return Order(info.Env(), arguments, [nic, ip](Switch& s) { return s.Announce(nic, ip); });
  }
  Napi::Value StatsOf(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info) {
    if (fabric_) {
      Shut();
      Unref();
    }
    return info.Env().Undefined();
  }

  std::unique_ptr<Fabric> fabric_;
  napi_threadsafe_function loop_ = nullptr;
};

Napi::Value FabricObject::StatsOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!fabric_) {
    ErrorOf(env, {"ECLOSED", "the fabric was closed"}).ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const Stats stats = fabric_->Snapshot();
  const int64_t now_us = Now();
  auto object = Napi::Object::New(env);
  object.Set("outputState", StateName(stats.pressure));
  SetNumbers(object, {{"colour", stats.colour},
                      {"generation", stats.generation},
                      {"heldOutputFrames", stats.heldOutputFrames},
                      {"heldOutputBytes", stats.heldOutputBytes},
                      {"releasedFrames", stats.releasedFrames},
                      {"timesThrottled", stats.throttled},
                      {"timesFull", stats.filled},
                      {"droppedForeign", stats.droppedForeign},
                      {"droppedForged", stats.droppedForged},
                      {"droppedLife", stats.droppedLife},
                      {"droppedReplayed", stats.droppedReplayed},
                      {"droppedQueue", stats.droppedQueue},
                      {"earlyHeld", stats.earlyHeld},
                      {"lateLogged", stats.lateLogged}});
  auto ports = Napi::Array::New(env, stats.ports.size());
  for (uint32_t i = 0; i < stats.ports.size(); i++) {
    const Stats::OfPort& each = stats.ports[i];
    auto port = Napi::Object::New(env);
    port.Set("nic", MacText(each.nic));
    SetNumbers(port, {{"rxFrames", each.received}, {"rxBytes", each.receivedBytes}, {"txFrames", each.sent}, {"txBytes", each.sentBytes}, {"dropped", each.dropped}});
    port.Set("stopped_ms", static_cast<double>(each.stopped_us) / 1000);
    ports.Set(i, port);
  }
  auto peers = Napi::Array::New(env, stats.peers.size());
  for (uint32_t i = 0; i < stats.peers.size(); i++) {
    const Stats::OfPeer& each = stats.peers[i];
    auto peer = Napi::Object::New(env);
    peer.Set("host", each.host);
    peer.Set("heard_ms", static_cast<double>(std::max<int64_t>(0, now_us - each.heard_us)) / 1000);
    SetNumbers(peer, {{"rxFrames", each.received},
                      {"rxBytes", each.receivedBytes},
                      {"txFrames", each.sent},
                      {"txBytes", each.sentBytes},
                      {"late", each.late},
                      {"early", each.early},
                      {"lost", each.lost},
                      {"duplicates", each.duplicates},
                      {"forged", each.forged}});
    peers.Set(i, peer);
  }
  object.Set("ports", ports);
  object.Set("peers", peers);
  return object;
}

}  // namespace
}  // namespace virtcft::fabric

void RegisterFabric(Napi::Env env, Napi::Object exports) { exports.Set("Fabric", virtcft::fabric::FabricObject::Define(env)); }
