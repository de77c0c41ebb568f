// What a session is asked: a line of words, and bytes where its last word says how many.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace virtcft::xen {

/** A request as it came. */
struct Request {
  std::vector<std::string> words;
  std::vector<uint8_t> payload;
};

/** A whole number; EINVAL. */
uint64_t wholeNumber(const std::string& word);

/** `capture 7 +1024` and its bytes. Failure EINVAL at what no client sends; nullopt at the end of input. */
class RequestReader {
 public:
  explicit RequestReader(int from, size_t piece_bytes = 1 << 16) : from_(from), piece_(piece_bytes) {}
  /** Waits for a whole request. */
  std::optional<Request> next();
  /** True when bytes of a request are here already, so that `next` need not wait for its first. */
  bool begun() const { return !buffer_.empty(); }

 private:
  bool more();
  int from_;
  std::vector<uint8_t> piece_;
  std::vector<uint8_t> buffer_;
};

}  // namespace virtcft::xen
