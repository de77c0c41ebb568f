// An error that the caller can act on: `code` names the reason, the message says what to do.
#pragma once
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace virtcft {

namespace code {
inline constexpr const char* kInvalid = "EINVAL";           // an argument that cannot be right
inline constexpr const char* kState = "ESTATE";             // not possible now; the message says what must come first
inline constexpr const char* kEpoch = "EEPOCH";             // an epoch that is not held, or out of order
inline constexpr const char* kNoTracker = "ENOTRACKER";     // this tracker cannot be armed there: attach again with `compare`
inline constexpr const char* kProcess = "EPROCESS";         // the hypervisor process is gone or does not map the RAM file
inline constexpr const char* kBadSection = "EBADSECTION";   // a page section that is damaged or not allowed here
inline constexpr const char* kBadChunk = "EBADCHUNK";       // a stored chunk that is damaged, or another one
inline constexpr const char* kIo = "EIO";                   // the operating system refused a file operation
inline constexpr const char* kClosed = "ECLOSED";           // the object was closed
inline constexpr const char* kBusy = "EBUSY";               // too many calls are waiting
inline constexpr const char* kNoMemory = "ENOMEM";
inline constexpr const char* kNoDisk = "ENODISK";           // the directory holds no disk
inline constexpr const char* kBadDisk = "EBADDISK";         // what the directory holds does not verify
inline constexpr const char* kExists = "EEXIST";            // the directory holds a disk already
}  // namespace code

class Failure : public std::runtime_error {
 public:
  Failure(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  const char* code() const { return code_; }
  bool is(const char* code) const { return std::strcmp(code_, code) == 0; }

 private:
  const char* code_;
};

/** `doing` failed with `error` (errno). */
[[noreturn]] inline void failWith(const char* code, const std::string& doing, int error = errno) {
  throw Failure(code, doing + ": " + std::strerror(error));
}

}  // namespace virtcft
