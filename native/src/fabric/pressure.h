#pragma once

#include <cstddef>
#include <cstdint>

namespace virtcft::fabric {

/** How much output waits (R11). Free: guests send as they like. Throttled: at a falling rate. Full: their ports are not read. */
enum class Pressure : uint8_t { Free, Throttled, Full };

/** The bound of held output, by bytes and by age. No clock, no I/O. */
class OutputBound {
 public:
  OutputBound(size_t bytes, int64_t age_us) : bytes_(bytes), age_us_(age_us) {}
  /** From half the bound on throttled, at it (or once the oldest frame is too old) full; each state ends at half of where it began. */
  Pressure Next(Pressure now, size_t heldBytes, int64_t oldest_us) const;
  /** What each of `ports` may add in one kThrottleUs: a share of the room that is left, and always one frame, so that the bound is reached. */
  int64_t Allowance(size_t heldBytes, size_t ports, size_t frameBytes) const;
  int64_t age_us() const { return age_us_; }

 private:
  size_t bytes_;
  int64_t age_us_;
};

}  // namespace virtcft::fabric
