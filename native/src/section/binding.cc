#include "binding.h"

#include "../memory/arguments.h"
#include "../memory/promises.h"
#include "references.h"
#include "replica_image.h"
#include "segment_name.h"

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

constexpr napi_type_tag kCatalogTag{0x7669727463667463, 0x706167656361746c};

class PageCatalogObject : public Napi::ObjectWrap<PageCatalogObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "PageCatalog",
                       {InstanceMethod("add", &PageCatalogObject::add), InstanceMethod("drop", &PageCatalogObject::drop), InstanceMethod("clear", &PageCatalogObject::clear),
                        InstanceAccessor<&PageCatalogObject::sources>("sources"), InstanceMethod("close", &PageCatalogObject::close)});
  }

  explicit PageCatalogObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PageCatalogObject>(info) {
    guarded(info.Env(), [&] {
      catalog_ = std::make_shared<PageCatalog>();
      promises_ = std::make_unique<Promises>(info.Env(), "virtcft.catalog");
      info.This().As<Napi::Object>().TypeTag(&kCatalogTag);
    });
  }
  ~PageCatalogObject() override { shut(); }

  const std::shared_ptr<PageCatalog>& open() const {
    if (!catalog_) throw Failure(code::kClosed, "this catalog of pages is closed");
    return catalog_;
  }

 private:
  Napi::Value add(const Napi::CallbackInfo& info) {
    Napi::Value value = info.Env().Undefined();
    guarded(info.Env(), [&] {
      const Napi::Object given = options(info);
      const auto segment = segmentNameFrom(text(given.Get("segment"), "segment"));
      if (!segment) throw Failure(code::kInvalid, "segment must be the name of one, 64 hexadecimal digits");
      const auto section = bytes(given.Get("section"), "section");
      value = promises_->start<size_t>(info.Env(), lane_, {info.This().As<Napi::Object>(), given.Get("section").As<Napi::Object>()},
                                       [catalog = open(), segment = *segment, section] { return catalog->add(segment, section); },
                                       [](Napi::Env env, size_t& pages) {
                                         Napi::Object added = Napi::Object::New(env);
                                         added.Set("pages", Napi::Number::New(env, static_cast<double>(pages)));
                                         return Napi::Value(added);
                                       });
    });
    return value;
  }
  Napi::Value drop(const Napi::CallbackInfo& info) {
    guarded(info.Env(), [&] { open()->drop(wholeNumber(info[0], "count")); });
    return info.Env().Undefined();
  }
  Napi::Value clear(const Napi::CallbackInfo& info) {
    guarded(info.Env(), [&] { open()->clear(); });
    return info.Env().Undefined();
  }
  Napi::Value sources(const Napi::CallbackInfo& info) {
    size_t count = 0;
    guarded(info.Env(), [&] { count = open()->sources(); });
    return Napi::Number::New(info.Env(), static_cast<double>(count));
  }
  Napi::Value close(const Napi::CallbackInfo& info) {
    shut();
    return info.Env().Undefined();
  }

  void shut() {
    lane_.close();
    catalog_.reset();
    promises_.reset();
  }

  std::shared_ptr<PageCatalog> catalog_;
  std::unique_ptr<Promises> promises_;
  Lane lane_;
};

/** On a thread of the pool: sections of many VMs are made whole at once. */
class Resolving : public Napi::AsyncWorker {
 public:
  Resolving(Napi::Env env, const Napi::Value& section, const Napi::Array& sources) : AsyncWorker(env, "virtcft.references"), promise_(env), section_(bytes(section, "section")) {
    kept_ = Napi::Persistent(Napi::Array::New(env, sources.Length() + 1).As<Napi::Object>());
    kept_.Set(sources.Length(), section);
    for (uint32_t i = 0; i < sources.Length(); i++) {
      const Napi::Value source = sources.Get(i);
      sources_.push_back(bytes(source, "a source"));
      kept_.Set(i, source);
    }
  }
  Napi::Promise promise() const { return promise_.Promise(); }

 protected:
  void Execute() override {
    try {
      whole_ = resolveReferences(section_, sources_);
    } catch (...) {
      failed_ = std::current_exception();
    }
  }
  void OnOK() override {
    if (!failed_) return promise_.Resolve(toBuffer(Env(), std::move(whole_)));
    const Failure failure = failureOf(failed_);
    promise_.Reject(errorWith(Env(), failure.code(), failure.what()).Value());
  }

 private:
  Napi::Promise::Deferred promise_;
  Napi::ObjectReference kept_;
  std::span<const uint8_t> section_;
  std::vector<std::span<const uint8_t>> sources_;
  std::vector<uint8_t> whole_;
  std::exception_ptr failed_;
};

Napi::Value resolve(const Napi::CallbackInfo& info) {
  Napi::Value value = info.Env().Undefined();
  guarded(info.Env(), [&] {
    if (!info[1].IsArray()) throw Failure(code::kInvalid, "sources must be an array of Buffers");
    auto resolving = std::make_unique<Resolving>(info.Env(), info[0], info[1].As<Napi::Array>());
    value = resolving->promise();
    resolving.release()->Queue();  // deletes itself
  });
  return value;
}

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
    set("referred", static_cast<double>(section.counts().referred));
    set("maxPage", static_cast<double>(section.maxPage()));
    value.Set("sources", namesValue(env, section.sources()));
  });
  return value;
}

}  // namespace

std::shared_ptr<const PageCatalog> catalogOf(const Napi::Value& value) {
  if (value.IsNull() || value.IsUndefined()) return nullptr;
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kCatalogTag)) throw Failure(code::kInvalid, "catalog must be a PageCatalog or null");
  return PageCatalogObject::Unwrap(value.As<Napi::Object>())->open();
}

Napi::Value namesValue(Napi::Env env, const std::vector<SegmentName>& names) {
  Napi::Array value = Napi::Array::New(env, names.size());
  for (size_t i = 0; i < names.size(); i++) value.Set(static_cast<uint32_t>(i), Napi::String::New(env, hexOf(names[i])));
  return value;
}

}  // namespace virtcft

void RegisterSection(Napi::Env env, Napi::Object exports) {
  exports.Set("ReplicaImage", virtcft::ReplicaImageObject::define(env));
  exports.Set("PageCatalog", virtcft::PageCatalogObject::define(env));
  exports.Set("resolveReferences", Napi::Function::New(env, virtcft::resolve, "resolveReferences"));
  exports.Set("inspectSection", Napi::Function::New(env, virtcft::inspect, "inspectSection"));
}
