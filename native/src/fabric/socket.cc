#include "socket.h"

#include <unistd.h>

#include <cstring>

#include "limits.h"

namespace virtcft::fabric {

Failure SystemFailure(int error, const std::string& tried) {
  const char* name = strerrorname_np(error);
  return {name ? name : "EIO", tried + ": " + strerror(error)};
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void Descriptor::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void EnlargeBuffers(int fd) {
  const int bytes = kSocketBufferBytes;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

Batch::Batch(size_t count, size_t bytesEach) : bytesEach_(bytesEach), buffer_(count * bytesEach), vectors_(count), messages_(count) {
  for (size_t i = 0; i < count; i++) {
    vectors_[i] = {buffer_.data() + i * bytesEach, bytesEach};
    messages_[i] = {};
    messages_[i].msg_hdr.msg_iov = &vectors_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
  }
}

size_t Batch::Receive(int fd) {
  for (;;) {
    const int count = recvmmsg(fd, messages_.data(), static_cast<unsigned>(messages_.size()), MSG_DONTWAIT, nullptr);
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EINTR) return 0;
  }
}

size_t Batch::ReadEach(int fd) {
  size_t count = 0;
  while (count < messages_.size()) {
    const ssize_t got = read(fd, vectors_[count].iov_base, bytesEach_);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) errno = EAGAIN;
    if (got <= 0) break;
    messages_[count].msg_len = static_cast<unsigned>(got);
    count++;
  }
  return count;
}

}  // namespace virtcft::fabric
