#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <vector>

#include "frame.h"

namespace virtcft::fabric {

/** An owned descriptor. */
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { Close(); }
  void Close();
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/** Large buffers: beyond the system's limit where the process may (root), at the limit else. */
void EnlargeBuffers(int fd);

/** Receives many datagrams by one system call. */
class Batch {
 public:
  Batch(size_t count, size_t bytesEach);
  /** How many came (0: none are waiting); an error is as none, the socket's poll state tells the rest. */
  size_t Receive(int fd);
  /** The same from a descriptor that gives one frame per read. When 0, errno says why. */
  size_t ReadEach(int fd);
  const uint8_t* at(size_t i) const { return buffer_.data() + i * bytesEach_; }
  size_t bytes(size_t i) const { return messages_[i].msg_len; }
  bool truncated(size_t i) const { return (messages_[i].msg_hdr.msg_flags & MSG_TRUNC) != 0; }
  size_t capacity() const { return messages_.size(); }

 private:
  size_t bytesEach_;
  Bytes buffer_;
  std::vector<iovec> vectors_;
  std::vector<mmsghdr> messages_;
};

}  // namespace virtcft::fabric
