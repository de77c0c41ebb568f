#include "pressure.h"

#include <algorithm>

#include "limits.h"

namespace virtcft::fabric {

Pressure OutputBound::Next(Pressure now, size_t heldBytes, int64_t oldest_us) const {
  if (heldBytes >= bytes_ || oldest_us >= age_us_) return Pressure::Full;
  if (heldBytes >= bytes_ / 2) return now == Pressure::Full ? Pressure::Full : Pressure::Throttled;
  return now != Pressure::Free && heldBytes >= bytes_ / 4 ? Pressure::Throttled : Pressure::Free;
}

int64_t OutputBound::Allowance(size_t heldBytes, size_t ports, size_t frameBytes) const {
  const size_t left = heldBytes >= bytes_ ? 0 : bytes_ - heldBytes;
  return static_cast<int64_t>(std::max(left / kThrottleShare / std::max<size_t>(ports, 1), frameBytes));
}

}  // namespace virtcft::fabric
