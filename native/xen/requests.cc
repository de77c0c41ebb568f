#include "requests.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "failures.h"
#include "limits.h"

namespace virtcft::xen {

uint64_t wholeNumber(const std::string& word) {
  if (word.empty() || word.size() > 15 || word.find_first_not_of("0123456789") != std::string::npos) throw Failure(virtcft::code::kInvalid, "not a whole number: " + word);
  return std::strtoull(word.c_str(), nullptr, 10);
}

bool RequestReader::more() {
  ssize_t got;
  do got = ::read(from_, piece_.data(), piece_.size());
  while (got < 0 && errno == EINTR);
  if (got <= 0) return false;
  buffer_.insert(buffer_.end(), piece_.begin(), piece_.begin() + got);
  return true;
}

std::optional<Request> RequestReader::next() {
  std::vector<uint8_t>::iterator end;
  while ((end = std::find(buffer_.begin(), buffer_.end(), '\n')) == buffer_.end()) {
    if (buffer_.size() > limits::kMostLineBytes) throw Failure(virtcft::code::kInvalid, "a request of more than " + std::to_string(limits::kMostLineBytes) + " characters");
    if (!more()) return std::nullopt;
  }
  Request request;
  std::string word;
  for (auto at = buffer_.begin(); at <= end; ++at) {
    if (*at != ' ' && *at != '\n') word += static_cast<char>(*at);
    else if (!word.empty()) request.words.push_back(std::exchange(word, {}));
  }
  buffer_.erase(buffer_.begin(), end + 1);
  if (request.words.empty()) throw Failure(virtcft::code::kInvalid, "an empty request");
  if (request.words.back().front() == '+') {
    const uint64_t bytes = wholeNumber(request.words.back().substr(1));
    if (bytes > limits::kMostPayloadBytes) throw Failure(virtcft::code::kInvalid, "a request of " + std::to_string(bytes) + " bytes");
    while (buffer_.size() < bytes) {
      if (!more()) return std::nullopt;
    }
    request.payload.assign(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(bytes));
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(bytes));
    request.words.pop_back();
  }
  return request;
}

}  // namespace virtcft::xen
