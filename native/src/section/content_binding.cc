#include "content_binding.h"

#include <algorithm>
#include <thread>

#include "../memory/arguments.h"
#include "../memory/promises.h"
#include "chunk.h"
#include "sha256.h"

namespace virtcft {

namespace {

/** Work that belongs to no object: threads of its own, for many short pieces that wait for nobody. */
struct Content {
  explicit Content(Napi::Env env) : promises(env, "virtcft.content") {}
  Promises promises;
  /** Many clusters and uploads share it; each of them bounds what it has under way. */
  Lane lane{std::clamp(std::thread::hardware_concurrency(), 1u, 4u), 65'536};
};

struct Stored {
  explicit Stored(const Napi::Object& given)
      : bytes(virtcft::bytes(given.Get("stored"), "stored")), hash(text(given.Get("hash"), "hash")), length(wholeNumberOrNull(given.Get("bytes"), "bytes")) {}
  std::span<const uint8_t> expand() const { return chunk::expand(bytes, hash, length); }
  std::span<const uint8_t> bytes;
  std::string hash;
  std::optional<size_t> length;
};

Content& contentOf(const Napi::CallbackInfo& info) { return *static_cast<Content*>(info.Data()); }

Napi::Value expandChunk(const Napi::CallbackInfo& info) {
  Napi::Value value = info.Env().Undefined();
  guarded(info.Env(), [&] {
    const Napi::Object given = options(info);
    Content& content = contentOf(info);
    const Stored stored(given);
    value = content.promises.start<std::vector<uint8_t>>(
        info.Env(), content.lane, {given.Get("stored").As<Napi::Object>()},
        [stored] {
          const auto expanded = stored.expand();
          return std::vector<uint8_t>(expanded.begin(), expanded.end());
        },
        [](Napi::Env env, std::vector<uint8_t>& expanded) { return toBuffer(env, std::move(expanded)); });
  });
  return value;
}

Napi::Value writeChunk(const Napi::CallbackInfo& info) {
  Napi::Value value = info.Env().Undefined();
  guarded(info.Env(), [&] {
    const Napi::Object given = options(info);
    Content& content = contentOf(info);
    const auto fd = static_cast<int>(wholeNumber(given.Get("fd"), "fd", INT32_MAX));
    const uint64_t position = wholeNumber(given.Get("position"), "position");
    const Stored stored(given);
    value = content.promises.start<bool>(
        info.Env(), content.lane, {given.Get("stored").As<Napi::Object>()}, [=] { return chunk::writeSparse(fd, position, stored.expand()), true; },
        [](Napi::Env env, bool&) { return env.Undefined(); });
  });
  return value;
}

Napi::Value hashOf(const Napi::CallbackInfo& info) {
  Napi::Value value = info.Env().Undefined();
  guarded(info.Env(), [&] {
    Content& content = contentOf(info);
    const std::span<const uint8_t> hashed = bytes(info[0], "bytes");
    value = content.promises.start<std::string>(
        info.Env(), content.lane, {info[0].As<Napi::Object>()},
        [hashed] {
          Sha256 digest;
          digest.update(hashed.data(), hashed.size());
          return digest.finish();
        },
        [](Napi::Env env, std::string& hash) { return Napi::Value(Napi::String::New(env, hash)); });
  });
  return value;
}

}  // namespace

}  // namespace virtcft

void RegisterContent(Napi::Env env, Napi::Object exports) {
  auto* content = new virtcft::Content(env);
  // After the promises' own hook, so before it: the threads end while calls can still be settled.
  env.AddCleanupHook([content] { delete content; });
  exports.Set("expandChunk", Napi::Function::New(env, virtcft::expandChunk, "expandChunk", content));
  exports.Set("writeChunk", Napi::Function::New(env, virtcft::writeChunk, "writeChunk", content));
  exports.Set("sha256", Napi::Function::New(env, virtcft::hashOf, "sha256", content));
}
