#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <vector>

#include "switch.h"

namespace virtcft::fabric {

/** Reads JavaScript arguments; the first that is wrong is remembered, what follows reads as empty. TypeScript has validated them before. */
class Arguments {
 public:
  explicit Arguments(Napi::Env env) : env_(env) {}
  const Failure& failure() const { return failure_; }

  uint64_t Number(Napi::Value value, const char* name, uint64_t most);
  std::optional<uint64_t> NumberOrNull(Napi::Value value, const char* name, uint64_t most);
  std::string Text(Napi::Value value, const char* name);
  bool Flag(Napi::Value value, const char* name);
  Mac Address(Napi::Value value, const char* name);
  Id Identity(Napi::Value value, const char* name);
  Endpoint At(Napi::Object object);
  std::optional<uint32_t> Ip(Napi::Value value, const char* name);
  std::vector<Napi::Object> Objects(Napi::Value value, const char* name);
  /** At least kLeastSecretBytes; only what is derived from it is kept. */
  std::shared_ptr<const Secret> SecretOf(Napi::Value value, const char* name);
  Napi::Object Object(Napi::Value value, const char* name);

  PortAt FabricPort(Napi::Value value);
  Options FabricOptions(Napi::Value value);
  Generation FabricGeneration(Napi::Value value);
  std::vector<LoggedFrame> Frames(Napi::Value value);

 private:
  void Wrong(const char* name, const char* expected);
  Napi::Env env_;
  Failure failure_;
};

std::string MacText(Mac mac);
constexpr uint64_t kMostSafe = (uint64_t{1} << 53) - 1;

}  // namespace virtcft::fabric
