// The beginning of a connection: greeting and options, until the export is entered. Every byte is the peer's, and may be wrong.
#pragma once
#include "byte_queue.h"

namespace virtcft {

class Handshake {
 public:
  explicit Handshake(uint64_t diskBytes) : diskBytes_(diskBytes) {}

  void greet(ByteQueue& out) const;
  enum class Step { kMore, kEntered, kEnd };
  /** Takes what is whole in `in`, answers to `out`. `kEnd`: nothing sensible can follow, or the peer wants no more; send `out` and close. */
  Step advance(ByteQueue& in, ByteQueue& out);
  bool structured() const { return structured_; }

 private:
  Step option(uint32_t option, const uint8_t* data, size_t length, ByteQueue& out);
  Step enter(uint32_t option, const uint8_t* data, size_t length, ByteQueue& out) const;
  static void reply(uint32_t option, uint32_t type, const uint8_t* data, size_t length, ByteQueue& out);

  uint64_t diskBytes_;
  bool flagged_ = false;
  bool noZeroes_ = false;
  bool structured_ = false;
};

}  // namespace virtcft
