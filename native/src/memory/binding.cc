#include "binding.h"

#include "arguments.h"
#include "guest_memory.h"
#include "promises.h"
#include "values.h"
#include "wanted.h"

namespace virtcft {

namespace {

TrackerKind trackerKind(const Napi::Value& value) {
  const std::string name = text(value, "tracker");
  for (const TrackerKind kind : {TrackerKind::kPagemapScan, TrackerKind::kSoftDirty, TrackerKind::kCompare}) {
    if (name == nameOf(kind)) return kind;
  }
  throw Failure(code::kInvalid, "tracker must be pagemap-scan, soft-dirty or compare, not " + name);
}

Napi::Value toValue(Napi::Env env, const Captured& captured) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("pages", number(env, captured.pages));
  value.Set("scan_us", Napi::Number::New(env, static_cast<double>(captured.scan_us)));
  value.Set("copy_us", Napi::Number::New(env, static_cast<double>(captured.copy_us)));
  return value;
}

Napi::Value toValue(Napi::Env env, Seeded& seeded) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("pages", number(env, seeded.pages));
  value.Set("content", seeded.content.empty() ? env.Null() : toBuffer(env, std::move(seeded.content)));
  return value;
}

class GuestMemoryObject : public Napi::ObjectWrap<GuestMemoryObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "GuestMemory",
                       {InstanceMethod("attach", &GuestMemoryObject::attach), InstanceMethod("detach", &GuestMemoryObject::detach),
                        InstanceMethod("precopy", &GuestMemoryObject::precopy), InstanceMethod("capture", &GuestMemoryObject::capture),
                        InstanceMethod("beginSeed", &GuestMemoryObject::beginSeed), InstanceMethod("seed", &GuestMemoryObject::seed),
                        InstanceMethod("encode", &GuestMemoryObject::encode), InstanceMethod("fold", &GuestMemoryObject::fold),
                        InstanceMethod("rollback", &GuestMemoryObject::rollback), InstanceMethod("verify", &GuestMemoryObject::verify),
                        InstanceMethod("digest", &GuestMemoryObject::digest), InstanceMethod("beginFill", &GuestMemoryObject::beginFill),
                        InstanceMethod("supply", &GuestMemoryObject::supply), InstanceMethod("supplyRestAsZero", &GuestMemoryObject::supplyRestAsZero),
                        InstanceMethod("onWanted", &GuestMemoryObject::onWanted), InstanceMethod("fillStats", &GuestMemoryObject::fillStats),
                        InstanceMethod("stats", &GuestMemoryObject::stats), InstanceMethod("close", &GuestMemoryObject::close)});
  }

  explicit GuestMemoryObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<GuestMemoryObject>(info) {
    guarded(info.Env(), [&] {
      const Napi::Object given = options(info);
      memory_ = std::make_unique<GuestMemory>(text(given.Get("ramPath"), "ramPath"), wholeNumber(given.Get("bytes"), "bytes"));
      promises_ = std::make_unique<Promises>(info.Env(), "virtcft.memory");
    });
  }
  ~GuestMemoryObject() override { shut(); }

 private:
  /** Runs `body` with the open memory; a failure becomes a JavaScript exception. */
  Napi::Value with(const Napi::CallbackInfo& info, const std::function<Napi::Value(GuestMemory&)>& body) {
    Napi::Value value = info.Env().Undefined();
    guarded(info.Env(), [&] {
      if (!memory_ || !promises_) throw Failure(code::kClosed, "this guest memory is closed");
      value = body(*memory_);
    });
    return value;
  }

  template <class Result>
  Napi::Value start(const Napi::CallbackInfo& info, Lane& lane, std::function<Result(GuestMemory&)> work,
                    std::function<Napi::Value(Napi::Env, Result&)> toValue, std::optional<Napi::Object> buffer = std::nullopt) {
    return with(info, [&](GuestMemory& memory) -> Napi::Value {
      const Napi::Object self = info.This().As<Napi::Object>();
      return promises_->start<Result>(info.Env(), lane, {self, buffer.value_or(self)}, [&memory, work = std::move(work)] { return work(memory); },
                                      std::move(toValue));
    });
  }
  Napi::Value startVoid(const Napi::CallbackInfo& info, Lane& lane, std::function<void(GuestMemory&)> work) {
    return start<bool>(info, lane, [work = std::move(work)](GuestMemory& memory) { return work(memory), true; },
                       [](Napi::Env env, bool&) { return env.Undefined(); });
  }

  Napi::Value attach(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestMemory&) {
      const Napi::Object given = options(info);
      const auto pid = static_cast<int>(wholeNumber(given.Get("pid"), "pid", 1 << 22));
      const TrackerKind kind = trackerKind(given.Get("tracker"));
      const bool lazy = flag(given.Get("lazy"), "lazy");
      return startVoid(info, guest_, [=](GuestMemory& memory) { memory.attach(pid, kind, lazy); });
    });
  }
  Napi::Value detach(const Napi::CallbackInfo& info) {
    return startVoid(info, guest_, [](GuestMemory& memory) { memory.detach(); });
  }
  Napi::Value precopy(const Napi::CallbackInfo& info) {
    const Napi::Value promise = start<Captured>(info, guest_, [](GuestMemory& memory) { return memory.precopy(); },
                                                [](Napi::Env env, Captured& captured) { return toValue(env, captured); });
    return promise;
  }
  Napi::Value capture(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestMemory&) {
      const uint64_t epoch = wholeNumber(info[0], "epoch");
      Lane& image = image_;
      return start<Captured>(info, guest_,
                             [epoch, &image](GuestMemory& memory) {
                               const Captured captured = memory.capture(epoch);
                               // After the pause; when the lane is full or closing there is nothing to prepare for.
                               static_cast<void>(image.post([&memory](bool cancelled) { warm(memory, cancelled); }));
                               return captured;
                             },
                             [](Napi::Env env, Captured& captured) { return toValue(env, captured); });
    });
  }
  Napi::Value beginSeed(const Napi::CallbackInfo& info) {
    return start<uint64_t>(info, guest_, [](GuestMemory& memory) { return memory.beginSeed(); },
                           [](Napi::Env env, uint64_t& epoch) {
                             Napi::Object value = Napi::Object::New(env);
                             value.Set("epoch", number(env, epoch));
                             return Napi::Value(value);
                           });
  }
  Napi::Value seed(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestMemory&) {
      const Napi::Object given = options(info);
      const auto first = static_cast<PageNumber>(wholeNumber(given.Get("first"), "first", kMaxPages));
      const uint64_t count = wholeNumber(given.Get("count"), "count", kMaxPages);
      const uint64_t fewest = wholeNumber(given.Get("fewest"), "fewest", kMaxPages);
      return start<Seeded>(info, guest_, [=](GuestMemory& memory) { return memory.seed(first, count, fewest); },
                           [](Napi::Env env, Seeded& seeded) { return toValue(env, seeded); });
    });
  }
  static void warm(GuestMemory& memory, bool cancelled) {
    if (cancelled) return;
    try {
      memory.warm();
    } catch (const std::bad_alloc&) {
      return;  // the next capture allocates for itself, and says so if it cannot
    }
  }
  Napi::Value encode(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestMemory&) {
      const Napi::Object given = options(info);
      const std::optional<uint64_t> parent = wholeNumberOrNull(given.Get("parent"), "parent");
      const uint64_t epoch = wholeNumber(given.Get("epoch"), "epoch");
      return start<Encoded>(info, image_, [parent, epoch, catalog = catalogOf(given.Get("catalog"))](GuestMemory& memory) { return memory.encode(parent, epoch, catalog.get()); },
                            [](Napi::Env env, Encoded& encoded) { return encodedValue(env, encoded); });
    });
  }
  Napi::Value fold(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestMemory&) {
      const uint64_t epoch = wholeNumber(info[0], "epoch");
      return start<size_t>(info, image_, [epoch](GuestMemory& memory) { return memory.fold(epoch); },
                           [](Napi::Env env, size_t& pages) { return pagesValue(env, pages); });
    });
  }
  Napi::Value rollback(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestMemory&) {
      const uint64_t epoch = wholeNumber(info[0], "epoch");
      return start<RolledBack>(info, guest_, [epoch](GuestMemory& memory) { return memory.rollback(epoch); },
                               [](Napi::Env env, RolledBack& result) {
                                 Napi::Object value = pagesValue(env, result.pages).As<Napi::Object>();
                                 value.Set("scanned", Napi::Boolean::New(env, result.scanned));
                                 return Napi::Value(value);
                               });
    });
  }
  Napi::Value verify(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestMemory&) {
      const uint64_t epoch = wholeNumber(info[0], "epoch");
      return start<Verified>(info, guest_, [epoch](GuestMemory& memory) { return memory.verify(epoch); },
                             [](Napi::Env env, Verified& result) {
                               Napi::Object value = Napi::Object::New(env);
                               value.Set("differing", number(env, result.differing));
                               value.Set("first", result.first ? number(env, *result.first) : env.Null());
                               return Napi::Value(value);
                             });
    });
  }
  Napi::Value digest(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestMemory&) {
      const uint64_t epoch = wholeNumber(info[0], "epoch");
      return start<std::string>(info, image_, [epoch](GuestMemory& memory) { return memory.digest(epoch); },
                                [](Napi::Env env, std::string& hash) { return Napi::Value(Napi::String::New(env, hash)); });
    });
  }
  Napi::Value beginFill(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestMemory& memory) {
      memory.beginFill(wholeNumber(info[0], "epoch"));
      return info.Env().Undefined();
    });
  }
  Napi::Value supply(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestMemory&) {
      const auto section = bytes(info[0], "section");
      return start<size_t>(info, image_, [section](GuestMemory& memory) { return memory.supply(section); },
                           [](Napi::Env env, size_t& pages) { return pagesValue(env, pages); }, info[0].As<Napi::Object>());
    });
  }
  Napi::Value supplyRestAsZero(const Napi::CallbackInfo& info) {
    return start<size_t>(info, image_, [](GuestMemory& memory) { return memory.supplyRestAsZero(); },
                         [](Napi::Env env, size_t& pages) { return pagesValue(env, pages); });
  }
  Napi::Value onWanted(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestMemory& memory) {
      if (!info[0].IsNull() && !info[0].IsFunction()) throw Failure(code::kInvalid, "onWanted takes a function or null");
      if (info[0].IsNull()) {
        memory.onWanted(nullptr);
      } else {
        auto callback = std::make_shared<WantedCallback>(info.Env(), info[0].As<Napi::Function>());
        memory.onWanted([callback](const std::vector<PageNumber>& pages) { callback->call(pages); });
      }
      return info.Env().Undefined();
    });
  }
  Napi::Value fillStats(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestMemory& memory) { return fillValue(info.Env(), memory.fillStats()); });
  }
  Napi::Value stats(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestMemory& memory) {
      const GuestMemory::Stats stats = memory.stats();
      Napi::Object value = Napi::Object::New(info.Env());
      value.Set("base_bytes", number(info.Env(), stats.held.base_bytes));
      value.Set("layer_bytes", number(info.Env(), stats.held.layer_bytes));
      value.Set("layers", number(info.Env(), stats.held.layers));
      value.Set("open_pages", number(info.Env(), stats.open_pages));
      return Napi::Value(value);
    });
  }
  Napi::Value close(const Napi::CallbackInfo& info) {
    shut();
    return info.Env().Undefined();
  }

  void shut() {
    guest_.close();
    image_.close();
    memory_.reset();
    promises_.reset();
  }

  std::unique_ptr<GuestMemory> memory_;
  std::unique_ptr<Promises> promises_;
  Lane guest_;  // what the guest waits for
  Lane image_;  // everything else
};

Napi::Value probe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object value = Napi::Object::New(env);
  guarded(env, [&] {
    const TrackerProbe probe = probeTracker();
    value.Set("pagemapScan", Napi::Boolean::New(env, probe.pagemapScan));
    value.Set("softDirty", Napi::Boolean::New(env, probe.softDirty));
    value.Set("lazyFill", Napi::Boolean::New(env, probe.lazyFill));
    value.Set("best", Napi::String::New(env, nameOf(probe.best)));
    Napi::Array reasons = Napi::Array::New(env);
    for (size_t i = 0; i < probe.reasons.size(); i++) reasons.Set(static_cast<uint32_t>(i), Napi::String::New(env, probe.reasons[i]));
    value.Set("reasons", reasons);
  });
  return value;
}

}  // namespace

}  // namespace virtcft

void RegisterMemory(Napi::Env env, Napi::Object exports) {
  exports.Set("GuestMemory", virtcft::GuestMemoryObject::define(env));
  exports.Set("probeTracker", Napi::Function::New(env, virtcft::probe, "probeTracker"));
}
