// The name of a segment, and how it is written: 64 hexadecimal digits in lower case.
#pragma once
#include <optional>
#include <string>

#include "section.h"

namespace virtcft {

inline std::string hexOf(const SegmentName& name) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const uint8_t byte : name) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

inline std::optional<SegmentName> segmentNameFrom(const std::string& hex) {
  SegmentName name{};
  if (hex.size() != 2 * name.size()) return std::nullopt;
  for (size_t i = 0; i < hex.size(); i++) {
    const char digit = hex[i];
    if (!(digit >= '0' && digit <= '9') && !(digit >= 'a' && digit <= 'f')) return std::nullopt;
    name[i / 2] = static_cast<uint8_t>(name[i / 2] << 4 | (digit <= '9' ? digit - '0' : digit - 'a' + 10));
  }
  return name;
}

}  // namespace virtcft
