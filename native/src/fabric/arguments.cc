#include "arguments.h"

#include <arpa/inet.h>

#include <cmath>
#include <cstdio>

#include "limits.h"

namespace virtcft::fabric {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string MacText(Mac mac) {
  char text[18];
  uint8_t at[6];
  WriteMac(mac, at);
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", at[0], at[1], at[2], at[3], at[4], at[5]);
  return text;
}

void Arguments::Wrong(const char* name, const char* expected) {
  if (!failure_) failure_ = {"EINVAL", std::string(name) + " must be " + expected};
}

uint64_t Arguments::Number(Napi::Value value, const char* name, uint64_t most) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0) || number > static_cast<double>(most) || std::floor(number) != number) {
    Wrong(name, ("an integer from 0 to " + std::to_string(most)).c_str());
    return 0;
  }
  return static_cast<uint64_t>(number);
}

std::optional<uint64_t> Arguments::NumberOrNull(Napi::Value value, const char* name, uint64_t most) {
  if (value.IsNull()) return std::nullopt;
  return Number(value, name, most);
}

std::string Arguments::Text(Napi::Value value, const char* name) {
  if (value.IsString()) return value.As<Napi::String>().Utf8Value();
  Wrong(name, "a string");
  return {};
}

bool Arguments::Flag(Napi::Value value, const char* name) {
  if (value.IsBoolean()) return value.As<Napi::Boolean>().Value();
  Wrong(name, "true or false");
  return false;
}

Mac Arguments::Address(Napi::Value value, const char* name) {
  const std::string text = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  Mac mac = 0;
  bool good = text.size() == 17;
  for (size_t i = 0; good && i < 17; i++) {
    if (i % 3 == 2) {
      good = text[i] == ':';
    } else {
      good = HexDigit(text[i]) >= 0;
      mac = mac << 4 | static_cast<Mac>(HexDigit(text[i]) & 15);
    }
  }
  if (!good || mac == 0 || IsGroup(mac)) Wrong(name, "a unicast MAC address such as 52:54:00:12:34:56");
  return mac;
}

Id Arguments::Identity(Napi::Value value, const char* name) {
  const std::string text = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  Id id{};
  bool good = text.size() == 32;
  for (size_t i = 0; good && i < 32; i++) {
    good = HexDigit(text[i]) >= 0;
    id[i / 2] = static_cast<uint8_t>(id[i / 2] << 4 | (HexDigit(text[i]) & 15));
  }
  if (!good) Wrong(name, "32 hexadecimal digits");
  return id;
}

Endpoint Arguments::At(Napi::Object object) {
  Endpoint endpoint;
  const uint64_t port = Number(object.Get("port"), "port", 65535);
  if (!ParseEndpoint(Text(object.Get("address"), "address"), static_cast<uint16_t>(port), endpoint)) Wrong("address", "an IPv4 or IPv6 address");
  return endpoint;
}

std::optional<uint32_t> Arguments::Ip(Napi::Value value, const char* name) {
  if (value.IsNull()) return std::nullopt;
  in_addr address{};
  if (inet_pton(AF_INET, Text(value, name).c_str(), &address) != 1) Wrong(name, "an IPv4 address or null");
  return ntohl(address.s_addr);
}

std::shared_ptr<const Secret> Arguments::SecretOf(Napi::Value value, const char* name) {
  if (value.IsBuffer()) {
    const auto bytes = value.As<Napi::Buffer<uint8_t>>();
    if (bytes.Length() >= kLeastSecretBytes && bytes.Length() <= kMostSecretBytes) return std::make_shared<const Secret>(bytes.Data(), bytes.Length());
  }
  Wrong(name, ("a Buffer of " + std::to_string(kLeastSecretBytes) + " to " + std::to_string(kMostSecretBytes) + " bytes").c_str());
  return nullptr;
}

Napi::Object Arguments::Object(Napi::Value value, const char* name) {
  if (value.IsObject()) return value.As<Napi::Object>();
  Wrong(name, "an object");
  return Napi::Object::New(env_);
}

std::vector<Napi::Object> Arguments::Objects(Napi::Value value, const char* name) {
  std::vector<Napi::Object> objects;
  if (!value.IsArray()) {
    Wrong(name, "an array");
    return objects;
  }
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) objects.push_back(Object(array.Get(i), name));
  return objects;
}

PortAt Arguments::FabricPort(Napi::Value value) {
  const auto object = Object(value, "port");
  PortAt port;
  port.nic = Address(object.Get("nic"), "nic");
  if (object.Has("tap")) {
    port.tap = Text(object.Get("tap"), "tap");
    if (port.tap.empty()) Wrong("tap", "the name of an interface");
    return port;
  }
  port.path = Text(object.Get("path"), "path");
  port.peerPath = Text(object.Get("peerPath"), "peerPath");
  return port;
}

Options Arguments::FabricOptions(Napi::Value value) {
  const auto object = Object(value, "options");
  Options options;
  options.cluster = Identity(object.Get("cluster"), "cluster");
  options.host = static_cast<uint8_t>(Number(object.Get("host"), "host", 255));
  options.life = Identity(object.Get("life"), "life");
  options.secret = SecretOf(object.Get("secret"), "secret");
  const auto tunnel = Object(object.Get("tunnel"), "tunnel");
  options.address = Text(tunnel.Get("address"), "tunnel.address");
  options.port = static_cast<uint16_t>(Number(tunnel.Get("port"), "tunnel.port", 65535));
  if (!object.Get("edge").IsNull()) options.edge = Text(object.Get("edge"), "edge");
  options.mtu = Number(object.Get("mtu"), "mtu", kMaxMtu);
  options.heldOutputBytes = Number(object.Get("heldOutputBytes"), "heldOutputBytes", kMostSafe);
  options.heldOutputAge_us = static_cast<int64_t>(Number(object.Get("heldOutputAge_ms"), "heldOutputAge_ms", 3'600'000)) * 1000;
  options.portQueueFrames = Number(object.Get("portQueueFrames"), "portQueueFrames", 1u << 20);
  return options;
}

Generation Arguments::FabricGeneration(Napi::Value value) {
  const auto object = Object(value, "generation");
  Generation next;
  next.generation = Number(object.Get("generation"), "generation", kMostSafe);
  next.incarnation = Identity(object.Get("incarnation"), "incarnation");
  next.colour = Number(object.Get("colour"), "colour", kMostSafe);
  for (const auto& peer : Objects(object.Get("peers"), "peers")) {
    next.peers.push_back({static_cast<uint8_t>(Number(peer.Get("host"), "peer.host", 255)), Identity(peer.Get("life"), "peer.life"), At(peer)});
  }
  for (const auto& mac : Objects(object.Get("macs"), "macs")) {
    next.macs.push_back({Address(mac.Get("mac"), "mac"), static_cast<uint8_t>(Number(mac.Get("host"), "mac.host", 255))});
  }
  next.mtu = NumberOrNull(object.Get("mtu"), "mtu", kMaxMtu);
  next.heldOutputBytes = NumberOrNull(object.Get("heldOutputBytes"), "heldOutputBytes", kMostSafe);
  return next;
}

std::vector<LoggedFrame> Arguments::Frames(Napi::Value value) {
  std::vector<LoggedFrame> frames;
  for (const auto& each : Objects(value, "frames")) {
    const Mac nic = Address(each.Get("nic"), "nic");
    if (!each.Get("frame").IsBuffer()) {
      Wrong("frame", "a Buffer");
      return {};
    }
    const auto bytes = each.Get("frame").As<Napi::Buffer<uint8_t>>();
    frames.push_back({nic, MakeFrame(bytes.Data(), bytes.Length())});
  }
  return frames;
}

}  // namespace virtcft::fabric
