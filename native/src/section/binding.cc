#include "binding.h"

#include "../memory/arguments.h"
#include "../memory/promises.h"
#include "replica_image.h"

namespace virtcft {

namespace {

class ReplicaImageObject : public Napi::ObjectWrap<ReplicaImageObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "ReplicaImage",
                       {InstanceMethod("apply", &ReplicaImageObject::apply), InstanceMethod("read", &ReplicaImageObject::read),
                        InstanceMethod("extents", &ReplicaImageObject::extents), InstanceMethod("digest", &ReplicaImageObject::digest),
                        InstanceMethod("sync", &ReplicaImageObject::sync), InstanceMethod("close", &ReplicaImageObject::close)});
  }

  explicit ReplicaImageObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ReplicaImageObject>(info) {
    guarded(info.Env(), [&] {
      const Napi::Object given = options(info);
      image_ = std::make_unique<ReplicaImage>(text(given.Get("path"), "path"), wholeNumber(given.Get("bytes"), "bytes"));
      promises_ = std::make_unique<Promises>(info.Env(), "virtcft.replica");
    });
  }
  ~ReplicaImageObject() override { shut(); }

 private:
  /** `body` reads the arguments and returns the work. */
  template <class Result>
  Napi::Value start(const Napi::CallbackInfo& info, const std::function<std::function<Result(ReplicaImage&)>()>& body,
                    std::function<Napi::Value(Napi::Env, Result&)> toValue) {
    Napi::Value value = info.Env().Undefined();
    guarded(info.Env(), [&] {
      if (!image_ || !promises_) throw Failure(code::kClosed, "this replica is closed");
      const Napi::Object self = info.This().As<Napi::Object>();
      const Napi::Object kept = info.Length() > 0 && info[0].IsObject() ? info[0].As<Napi::Object>() : self;
      value = promises_->start<Result>(info.Env(), lane_, {self, kept}, [&image = *image_, work = body()] { return work(image); }, std::move(toValue));
    });
    return value;
  }

  Napi::Value apply(const Napi::CallbackInfo& info) {
    return start<size_t>(info,
                         [&]() -> std::function<size_t(ReplicaImage&)> {
                           return [section = bytes(info[0], "section")](ReplicaImage& image) { return image.apply(section); };
                         },
                         [](Napi::Env env, size_t& pages) {
                           Napi::Object value = Napi::Object::New(env);
                           value.Set("pages", Napi::Number::New(env, static_cast<double>(pages)));
                           return Napi::Value(value);
                         });
  }
  Napi::Value read(const Napi::CallbackInfo& info) {
    return start<std::vector<uint8_t>>(info,
                                       [&]() -> std::function<std::vector<uint8_t>(ReplicaImage&)> {
                                         const Napi::Object given = options(info);
                                         const size_t first = wholeNumber(given.Get("first"), "first");
                                         const size_t count = wholeNumber(given.Get("count"), "count");
                                         return [=](ReplicaImage& image) { return image.read(first, count); };
                                       },
                                       [](Napi::Env env, std::vector<uint8_t>& section) { return toBuffer(env, std::move(section)); });
  }
  Napi::Value extents(const Napi::CallbackInfo& info) {
    return start<std::vector<uint32_t>>(info, [] { return [](ReplicaImage& image) { return image.extents(); }; },
                                        [](Napi::Env env, std::vector<uint32_t>& found) {
                                          Napi::Uint32Array value = Napi::Uint32Array::New(env, found.size());
                                          std::copy(found.begin(), found.end(), value.Data());
                                          return Napi::Value(value);
                                        });
  }
  Napi::Value digest(const Napi::CallbackInfo& info) {
    return start<std::string>(info, [] { return [](ReplicaImage& image) { return image.digest(); }; },
                              [](Napi::Env env, std::string& hash) { return Napi::Value(Napi::String::New(env, hash)); });
  }
  Napi::Value sync(const Napi::CallbackInfo& info) {
    return start<bool>(info, [] { return [](ReplicaImage& image) { return image.sync(), true; }; }, [](Napi::Env env, bool&) { return env.Undefined(); });
  }
  Napi::Value close(const Napi::CallbackInfo& info) {
    shut();
    return info.Env().Undefined();
  }

  void shut() {
    lane_.close();
    image_.reset();
    promises_.reset();
  }

  std::unique_ptr<ReplicaImage> image_;
  std::unique_ptr<Promises> promises_;
  Lane lane_;
};

Napi::Value inspect(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object value = Napi::Object::New(env);
  guarded(env, [&] {
    const SectionReader section(bytes(info[0], "section"));
    section.check();
    const auto set = [&](const char* name, double number) { value.Set(name, Napi::Number::New(env, number)); };
    set("pages", static_cast<double>(section.counts().pages()));
    set("zero", static_cast<double>(section.counts().zero));
    set("xor", static_cast<double>(section.counts().xored));
    set("raw", static_cast<double>(section.counts().raw));
    set("maxPage", static_cast<double>(section.maxPage()));
  });
  return value;
}

}  // namespace

}  // namespace virtcft

void RegisterSection(Napi::Env env, Napi::Object exports) {
  exports.Set("ReplicaImage", virtcft::ReplicaImageObject::define(env));
  exports.Set("inspectSection", Napi::Function::New(env, virtcft::inspect, "inspectSection"));
}
