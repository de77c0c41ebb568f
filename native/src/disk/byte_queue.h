// Bytes that come at one end and go at the other, lying in one piece.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "limits.h"

namespace virtcft {

class ByteQueue {
 public:
  size_t size() const { return end_ - begin_; }
  const uint8_t* data() const { return bytes_.get() + begin_; }
  /** Room for so many bytes behind the last; valid until the next call. */
  uint8_t* room(size_t bytes) {
    if (end_ + bytes <= capacity_) return bytes_.get() + end_;
    const size_t held = size();
    if (held + bytes <= capacity_ && begin_ >= held) {
      std::memcpy(bytes_.get(), bytes_.get() + begin_, held);
    } else {
      const size_t capacity = held + bytes + (held + bytes) / 4;
      std::unique_ptr<uint8_t[]> larger(new uint8_t[capacity]);
      if (held > 0) std::memcpy(larger.get(), bytes_.get() + begin_, held);
      bytes_ = std::move(larger);
      capacity_ = capacity;
    }
    begin_ = 0;
    end_ = held;
    return bytes_.get() + end_;
  }
  size_t free() const { return capacity_ - end_; }
  void added(size_t bytes) { end_ += bytes; }
  void taken(size_t bytes) {
    begin_ += bytes;
    if (begin_ < end_) return;
    begin_ = end_ = 0;
    if (capacity_ > kKeptBufferBytes) {
      bytes_.reset();
      capacity_ = 0;
    }
  }
  /** Gives up the last bytes. */
  void shorten(size_t bytes) { end_ -= bytes; }

 private:
  std::unique_ptr<uint8_t[]> bytes_;
  size_t capacity_ = 0, begin_ = 0, end_ = 0;
};

}  // namespace virtcft
