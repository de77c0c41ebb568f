// Reading JavaScript arguments. TypeScript has checked them; a wrong one is still an error here, never a crash.
#pragma once
#include <napi.h>

#include <cmath>
#include <optional>
#include <span>
#include <string>

#include "failure.h"

namespace virtcft {

inline uint64_t wholeNumber(const Napi::Value& value, const char* name, uint64_t most = (1ull << 53) - 1) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0) || number != std::floor(number) || number > static_cast<double>(most)) {
    throw Failure(code::kInvalid, std::string(name) + " must be a whole number from 0 to " + std::to_string(most));
  }
  return static_cast<uint64_t>(number);
}

inline std::optional<uint64_t> wholeNumberOrNull(const Napi::Value& value, const char* name) {
  if (value.IsNull()) return std::nullopt;
  return wholeNumber(value, name);
}

inline std::string text(const Napi::Value& value, const char* name) {
  if (!value.IsString()) throw Failure(code::kInvalid, std::string(name) + " must be a string");
  return value.As<Napi::String>().Utf8Value();
}

inline bool flag(const Napi::Value& value, const char* name) {
  if (!value.IsBoolean()) throw Failure(code::kInvalid, std::string(name) + " must be true or false");
  return value.As<Napi::Boolean>().Value();
}

inline Napi::Object options(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsObject()) throw Failure(code::kInvalid, "an options object is expected");
  return info[0].As<Napi::Object>();
}

/** The bytes stay where they are: keep the buffer alive, and let nobody change it, while they are used. */
inline std::span<const uint8_t> bytes(const Napi::Value& value, const char* name) {
  if (!value.IsBuffer()) throw Failure(code::kInvalid, std::string(name) + " must be a Buffer");
  const auto buffer = value.As<Napi::Buffer<uint8_t>>();
  return {buffer.Data(), buffer.Length()};
}

/** A Buffer that takes over the vector. */
inline Napi::Value toBuffer(Napi::Env env, std::vector<uint8_t>&& bytes) {
  if (bytes.empty()) return Napi::Buffer<uint8_t>::New(env, 0);
  auto* owned = new std::vector<uint8_t>(std::move(bytes));
  return Napi::Buffer<uint8_t>::New(env, owned->data(), owned->size(), [](Napi::Env, uint8_t*, std::vector<uint8_t>* done) { delete done; }, owned);
}

}  // namespace virtcft
