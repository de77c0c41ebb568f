#include "binding.h"

#include "../memory/arguments.h"
#include "../memory/lane.h"
#include "../memory/promises.h"
#include "../memory/values.h"
#include "../memory/wanted.h"
#include "guest_disk.h"

namespace virtcft {

namespace {

Napi::Value blocksValue(Napi::Env env, size_t blocks) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("blocks", number(env, blocks));
  return value;
}

class GuestDiskObject : public Napi::ObjectWrap<GuestDiskObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "GuestDisk",
                       {StaticMethod("reopen", &GuestDiskObject::reopen), InstanceAccessor("bytes", &GuestDiskObject::bytesOf, nullptr),
                        InstanceMethod("serve", &GuestDiskObject::serve), InstanceMethod("capture", &GuestDiskObject::capture),
                        InstanceMethod("encode", &GuestDiskObject::encode), InstanceMethod("fold", &GuestDiskObject::fold),
                        InstanceMethod("rollback", &GuestDiskObject::rollback), InstanceMethod("digest", &GuestDiskObject::digest),
                        InstanceMethod("beginFill", &GuestDiskObject::beginFill), InstanceMethod("supply", &GuestDiskObject::supply),
                        InstanceMethod("supplyRestAsZero", &GuestDiskObject::supplyRestAsZero), InstanceMethod("onWanted", &GuestDiskObject::onWanted),
                        InstanceMethod("fillStats", &GuestDiskObject::fillStats), InstanceMethod("stats", &GuestDiskObject::stats),
                        InstanceMethod("close", &GuestDiskObject::close)});
  }

  explicit GuestDiskObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<GuestDiskObject>(info) {
    guarded(info.Env(), [&] {
      if (info.Length() == 1 && info[0].IsExternal()) {  // from `reopen`
        disk_ = std::move(*info[0].As<Napi::External<std::unique_ptr<GuestDisk>>>().Data());
      } else {
        const Napi::Object given = options(info);
        const Napi::Value image = given.Get("image");
        disk_ = std::make_unique<GuestDisk>(text(given.Get("directory"), "directory"), wholeNumber(given.Get("bytes"), "bytes"),
                                            image.IsNull() ? "" : text(image, "image"));
      }
      bytes_ = disk_->bytes();
      promises_ = std::make_unique<Promises>(info.Env(), "virtcft.disk");
    });
  }
  ~GuestDiskObject() override { shut(); }

 private:
  static Napi::Value reopen(const Napi::CallbackInfo& info) {
    Napi::Value value = info.Env().Undefined();
    guarded(info.Env(), [&] {
      if (!info.This().IsFunction()) throw Failure(code::kInvalid, "call it as GuestDisk.reopen(options)");
      std::unique_ptr<GuestDisk> disk = GuestDisk::reopen(text(options(info).Get("directory"), "directory"));
      value = info.This().As<Napi::Function>().New({Napi::External<std::unique_ptr<GuestDisk>>::New(info.Env(), &disk)});
    });
    return value;
  }
  Napi::Value bytesOf(const Napi::CallbackInfo& info) { return number(info.Env(), bytes_); }

  /** Runs `body` with the open disk; a failure becomes a JavaScript exception. */
  Napi::Value with(const Napi::CallbackInfo& info, const std::function<Napi::Value(GuestDisk&)>& body) {
    Napi::Value value = info.Env().Undefined();
    guarded(info.Env(), [&] {
      if (!disk_ || !promises_) throw Failure(code::kClosed, "this disk is closed");
      value = body(*disk_);
    });
    return value;
  }
  template <class Result>
  Napi::Value start(const Napi::CallbackInfo& info, Lane& lane, std::function<Result(GuestDisk&)> work,
                    std::function<Napi::Value(Napi::Env, Result&)> toValue, std::optional<Napi::Object> buffer = std::nullopt) {
    return with(info, [&](GuestDisk& disk) -> Napi::Value {
      const Napi::Object self = info.This().As<Napi::Object>();
      return promises_->start<Result>(info.Env(), lane, {self, buffer.value_or(self)}, [&disk, work = std::move(work)] { return work(disk); }, std::move(toValue));
    });
  }
  Napi::Value startBlocks(const Napi::CallbackInfo& info, Lane& lane, size_t (GuestDisk::*work)(uint64_t)) {
    return with(info, [&](GuestDisk&) {
      const uint64_t epoch = wholeNumber(info[0], "epoch");
      return start<size_t>(info, lane, [=](GuestDisk& disk) { return (disk.*work)(epoch); }, [](Napi::Env env, size_t& blocks) { return blocksValue(env, blocks); });
    });
  }

  Napi::Value serve(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestDisk& disk) {
      disk.serve(text(info[0], "socket"));
      return info.Env().Undefined();
    });
  }
  Napi::Value capture(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestDisk&) {
      const uint64_t epoch = wholeNumber(info[0], "epoch");
      Lane& image = image_;
      return start<DiskCaptured>(info, guest_,
                                 [epoch, &image](GuestDisk& disk) {
                                   const DiskCaptured captured = disk.capture(epoch);
                                   // After the pause; when the lane is full or closing there is nothing to prepare for.
                                   static_cast<void>(image.post([&disk](bool cancelled) { warm(disk, cancelled); }));
                                   return captured;
                                 },
                                 [](Napi::Env env, DiskCaptured& captured) {
                                   Napi::Object value = blocksValue(env, captured.blocks).As<Napi::Object>();
                                   value.Set("busy", number(env, captured.busy));
                                   value.Set("capture_us", Napi::Number::New(env, static_cast<double>(captured.capture_us)));
                                   return Napi::Value(value);
                                 });
    });
  }
  static void warm(GuestDisk& disk, bool cancelled) {
    if (cancelled) return;
    try {
      disk.warm();
    } catch (const std::bad_alloc&) {
      return;  // the next capture does it for itself
    }
  }
  Napi::Value encode(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestDisk&) {
      const Napi::Object given = options(info);
      const std::optional<uint64_t> parent = wholeNumberOrNull(given.Get("parent"), "parent");
      const uint64_t epoch = wholeNumber(given.Get("epoch"), "epoch");
      return start<Encoded>(info, image_, [=](GuestDisk& disk) { return disk.encode(parent, epoch); },
                            [](Napi::Env env, Encoded& encoded) { return encodedValue(env, encoded); });
    });
  }
  Napi::Value fold(const Napi::CallbackInfo& info) { return startBlocks(info, image_, &GuestDisk::fold); }
  Napi::Value rollback(const Napi::CallbackInfo& info) { return startBlocks(info, guest_, &GuestDisk::rollback); }
  Napi::Value digest(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestDisk&) {
      const uint64_t epoch = wholeNumber(info[0], "epoch");
      return start<std::string>(info, image_, [epoch](GuestDisk& disk) { return disk.digest(epoch); },
                                [](Napi::Env env, std::string& hash) { return Napi::Value(Napi::String::New(env, hash)); });
    });
  }
  Napi::Value beginFill(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestDisk& disk) {
      disk.beginFill(wholeNumber(info[0], "epoch"));
      return info.Env().Undefined();
    });
  }
  Napi::Value supply(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestDisk&) {
      const std::span<const uint8_t> section = bytes(info[0], "section");
      return start<size_t>(info, fill_, [section](GuestDisk& disk) { return disk.supply(section); },
                           [](Napi::Env env, size_t& blocks) { return pagesValue(env, blocks); }, info[0].As<Napi::Object>());
    });
  }
  Napi::Value supplyRestAsZero(const Napi::CallbackInfo& info) {
    return start<size_t>(info, fill_, [](GuestDisk& disk) { return disk.supplyRestAsZero(); },
                         [](Napi::Env env, size_t& blocks) { return pagesValue(env, blocks); });
  }
  Napi::Value onWanted(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestDisk& disk) {
      if (info[0].IsNull()) {
        disk.onWanted(nullptr);
      } else if (!info[0].IsFunction()) {
        throw Failure(code::kInvalid, "the callback must be a function or null");
      } else {
        auto callback = std::make_shared<WantedCallback>(info.Env(), info[0].As<Napi::Function>());
        disk.onWanted([callback](const std::vector<BlockNumber>& blocks) { callback->call(blocks); });
      }
      return info.Env().Undefined();
    });
  }
  Napi::Value fillStats(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestDisk& disk) { return fillValue(info.Env(), disk.fillStats()); });
  }
  Napi::Value stats(const Napi::CallbackInfo& info) {
    return with(info, [&](GuestDisk& disk) {
      const GuestDisk::Stats stats = disk.stats();
      Napi::Object value = Napi::Object::New(info.Env());
      const auto set = [&](const char* name, size_t count) { value.Set(name, number(info.Env(), count)); };
      set("base_bytes", stats.held.base_bytes);
      set("layer_bytes", stats.held.layer_bytes);
      set("layers", stats.held.layers);
      set("open_blocks", stats.held.open_blocks);
      set("connections", stats.connections);
      set("reads", stats.reads);
      set("writes", stats.writes);
      set("flushes", stats.flushes);
      set("read_bytes", stats.read_bytes);
      set("written_bytes", stats.written_bytes);
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
    fill_.close();
    disk_.reset();
    promises_.reset();
  }

  std::unique_ptr<GuestDisk> disk_;
  size_t bytes_ = 0;
  std::unique_ptr<Promises> promises_;
  Lane guest_;  // what the hypervisor waits for
  Lane image_;  // cuts' content
  Lane fill_;   // what requests of a filling disk wait for: never behind an encoding or a digest
};

}  // namespace

}  // namespace virtcft

void RegisterDisk(Napi::Env env, Napi::Object exports) { exports.Set("GuestDisk", virtcft::GuestDiskObject::define(env)); }
