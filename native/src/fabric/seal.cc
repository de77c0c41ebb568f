#include "seal.h"

#include <sodium.h>

#include <string_view>

namespace virtcft::fabric {
namespace {

constexpr std::string_view kContext = "virtcft tunnel 2";

const uint8_t* Octets(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

}  // namespace

bool PrepareSeals() { return sodium_init() >= 0; }

Secret::Secret(const uint8_t* at, size_t bytes) { crypto_generichash(root_.data(), root_.size(), at, bytes, nullptr, 0); }

Secret::~Secret() { sodium_memzero(root_.data(), root_.size()); }

Key Secret::For(const Id& cluster, const Id& incarnation) const {
  Key key;
  crypto_generichash_state state;
  crypto_generichash_init(&state, root_.data(), root_.size(), key.size());
  crypto_generichash_update(&state, Octets(kContext), kContext.size());
  crypto_generichash_update(&state, cluster.data(), cluster.size());
  crypto_generichash_update(&state, incarnation.data(), incarnation.size());
  crypto_generichash_final(&state, key.data(), key.size());
  return key;
}

SealBytes SealOf(const Key& key, const uint8_t* header, size_t headerBytes, const uint8_t* body, size_t bodyBytes) {
  SealBytes seal;
  crypto_generichash_state state;
  crypto_generichash_init(&state, key.data(), key.size(), seal.size());
  crypto_generichash_update(&state, header, headerBytes);
  if (bodyBytes > 0) crypto_generichash_update(&state, body, bodyBytes);
  crypto_generichash_final(&state, seal.data(), seal.size());
  return seal;
}

bool Genuine(const Key& key, const uint8_t* datagram, size_t bytes) {
  static_assert(kMacBytes == crypto_verify_16_BYTES);
  const SealBytes seal = SealOf(key, datagram, bytes - kMacBytes, nullptr, 0);
  return crypto_verify_16(seal.data(), datagram + bytes - kMacBytes) == 0;
}

}  // namespace virtcft::fabric
