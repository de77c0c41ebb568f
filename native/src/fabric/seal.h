#pragma once

#include <array>
#include <cstdint>

#include "frame.h"
#include "wire.h"

namespace virtcft::fabric {

/** What a datagram is sealed with: one key per cluster and generation incarnation, so that a key is of no use in another. */
using Key = std::array<uint8_t, 32>;
using SealBytes = std::array<uint8_t, kMacBytes>;

/** The hosts' shared secret; never shown, wiped at the end. */
class Secret {
 public:
  /** Any length; who reads it in has checked that it is a secret. */
  Secret(const uint8_t* at, size_t bytes);
  ~Secret();
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  Key For(const Id& cluster, const Id& incarnation) const;

 private:
  std::array<uint8_t, 64> root_;
};

/** The MAC over a datagram's two parts. */
SealBytes SealOf(const Key& key, const uint8_t* header, size_t headerBytes, const uint8_t* body, size_t bodyBytes);
/** Whether the last kMacBytes of a datagram are its MAC; takes as long for a wrong one as for a right one. `bytes` >= kMacBytes. */
bool Genuine(const Key& key, const uint8_t* datagram, size_t bytes);
/** Before anything above: chooses the processor's instructions. False when the library cannot be used. */
bool PrepareSeals();

}  // namespace virtcft::fabric
