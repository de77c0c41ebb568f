// JavaScript values of what memory and disks both return.
#pragma once
#include <napi.h>

#include "../section/binding.h"
#include "arguments.h"
#include "guest_memory.h"

namespace virtcft {

inline Napi::Value number(Napi::Env env, size_t value) { return Napi::Number::New(env, static_cast<double>(value)); }

inline Napi::Value pagesValue(Napi::Env env, size_t pages) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("pages", number(env, pages));
  return value;
}

inline Napi::Value encodedValue(Napi::Env env, Encoded& encoded) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("section", toBuffer(env, std::move(encoded.section)));
  value.Set("pages", number(env, encoded.counts.pages()));
  value.Set("zero", number(env, encoded.counts.zero));
  value.Set("xor", number(env, encoded.counts.xored));
  value.Set("raw", number(env, encoded.counts.raw));
  value.Set("referred", number(env, encoded.counts.referred));
  value.Set("sources", namesValue(env, encoded.sources));
  value.Set("encode_us", Napi::Number::New(env, static_cast<double>(encoded.encode_us)));
  return value;
}

inline Napi::Value fillValue(Napi::Env env, const FillStats& stats) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("faults", number(env, stats.faults));
  value.Set("prefetched", number(env, stats.prefetched));
  value.Set("present", number(env, stats.present));
  value.Set("total", number(env, stats.total));
  value.Set("done", Napi::Boolean::New(env, stats.done));
  return value;
}

}  // namespace virtcft
