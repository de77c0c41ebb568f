// SHA-256 (FIPS 180-4), with the processor's SHA instructions where it has them.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace virtcft {

class Sha256 {
 public:
  /** `portable` leaves the instructions unused (tests). */
  explicit Sha256(bool portable = false);
  void update(const uint8_t* bytes, size_t length);
  /** Lower-case hex; the object is used up. */
  std::string finish();
  /** As `finish`, the bytes. */
  std::array<uint8_t, 32> digest();

 private:
  void blocks(const uint8_t* bytes, size_t count);
  bool hardware_;
  std::array<uint32_t, 8> state_;
  std::array<uint8_t, 64> buffer_{};
  size_t buffered_ = 0;
  uint64_t length_ = 0;
};

}  // namespace virtcft
