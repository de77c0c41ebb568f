#include "connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace virtcft {

Connection::Connection(Descriptor fd, uint64_t id, uint64_t diskBytes) : fd_(std::move(fd)), id_(id), handshake_(diskBytes) {
  // Beyond the system's bound where we may, else as far as it goes; either way it only means more or fewer turns.
  if (::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kSocketBytes, sizeof kSocketBytes) != 0) {
    static_cast<void>(::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUF, &kSocketBytes, sizeof kSocketBytes));
  }
  handshake_.greet(out_);
}

Connection::Received Connection::receive() {
  size_t wanted = kBatchBytes;
  if (entered_ && in_.size() >= nbd::kRequestBytes) {
    // A large write is taken to its end and no further, so that it need not be moved to make room for the next.
    wanted = std::max(wanted, nbd::kRequestBytes + payloadOf(peek()) - in_.size());
  }
  uint8_t* to = in_.room(wanted);
  const ssize_t got = ::recv(fd_.get(), to, wanted, MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR ? Received::kNothing : Received::kEnd;
  if (got == 0) return Received::kEnd;
  in_.added(static_cast<size_t>(got));
  return Received::kBytes;
}

bool Connection::shakeHands() {
  const Handshake::Step step = handshake_.advance(in_, out_);
  entered_ = step == Handshake::Step::kEntered;
  return step != Handshake::Step::kEnd;
}

nbd::Request Connection::peek() const {
  const uint8_t* at = in_.data() + 4;
  return {nbd::load<uint16_t>(at), nbd::load<uint16_t>(at + 2), nbd::load<uint64_t>(at + 4), nbd::load<uint64_t>(at + 12), nbd::load<uint32_t>(at + 20)};
}

Connection::Next Connection::next(nbd::Request& request, const uint8_t*& payload) {
  if (in_.size() < nbd::kRequestBytes) return Next::kMore;
  if (nbd::load<uint32_t>(in_.data()) != nbd::kRequestMagic) return Next::kBad;
  request = peek();
  if (payloadOf(request) > kMostRequestBytes) return Next::kBad;
  if (in_.size() < nbd::kRequestBytes + payloadOf(request)) return Next::kMore;
  payload = in_.data() + nbd::kRequestBytes;
  return Next::kRequest;
}

void Connection::done(const nbd::Request& request) { in_.taken(nbd::kRequestBytes + payloadOf(request)); }

uint8_t* Connection::roomFor(const nbd::Request& read) {
  const size_t header = handshake_.structured() ? nbd::kStructuredReplyBytes + 8 : nbd::kSimpleReplyBytes;
  return out_.room(header + read.length) + header;
}

void Connection::answerRead(const nbd::Request& read) {
  if (!handshake_.structured() || read.length == 0) {
    answer(read, nbd::kOk);
    out_.added(read.length);
    return;
  }
  uint8_t* at = nbd::store(out_.room(nbd::kStructuredReplyBytes + 8 + read.length), nbd::kStructuredReplyMagic);
  at = nbd::store(nbd::store(at, nbd::kReplyDone), nbd::kReplyOffsetData);
  at = nbd::store(nbd::store(at, read.cookie), static_cast<uint32_t>(8 + read.length));
  nbd::store(at, read.offset);
  out_.added(nbd::kStructuredReplyBytes + 8 + read.length);
  unsentAnswers_++;
}

void Connection::answer(const nbd::Request& request, nbd::Error error) {
  unsentAnswers_++;
  if (!handshake_.structured() || request.command != nbd::kRead) {
    uint8_t* at = nbd::store(out_.room(nbd::kSimpleReplyBytes), nbd::kSimpleReplyMagic);
    nbd::store(nbd::store<uint32_t>(at, error), request.cookie);
    out_.added(nbd::kSimpleReplyBytes);
    return;
  }
  const bool failed = error != nbd::kOk;
  uint8_t* at = nbd::store(out_.room(nbd::kStructuredReplyBytes + 6), nbd::kStructuredReplyMagic);
  at = nbd::store(nbd::store(at, nbd::kReplyDone), failed ? nbd::kReplyError : nbd::kReplyNone);
  at = nbd::store(nbd::store(at, request.cookie), uint32_t{failed ? 6u : 0u});
  if (failed) nbd::store<uint16_t>(nbd::store<uint32_t>(at, error), 0);
  out_.added(nbd::kStructuredReplyBytes + (failed ? 6 : 0));
}

bool Connection::send() {
  while (out_.size() > 0) {
    const ssize_t put = ::send(fd_.get(), out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      stuck_ = errno == EAGAIN;
      return stuck_;
    }
    out_.taken(static_cast<size_t>(put));
  }
  unsentAnswers_ = 0;
  stuck_ = false;
  return true;
}

}  // namespace virtcft
