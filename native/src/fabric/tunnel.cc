#include "tunnel.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>

#include "limits.h"

namespace virtcft::fabric {

bool ParseEndpoint(const std::string& address, uint16_t port, Endpoint& endpoint) {
  endpoint = {};
  auto* four = reinterpret_cast<sockaddr_in*>(&endpoint.address);
  if (inet_pton(AF_INET, address.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    endpoint.bytes = sizeof(sockaddr_in);
    return true;
  }
  auto* six = reinterpret_cast<sockaddr_in6*>(&endpoint.address);
  if (inet_pton(AF_INET6, address.c_str(), &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    endpoint.bytes = sizeof(sockaddr_in6);
    return true;
  }
  return false;
}

std::unique_ptr<Tunnel> Tunnel::Open(const std::string& address, uint16_t port, Failure& failure) {
  Endpoint local;
  const std::string name = address + " port " + std::to_string(port);
  if (!ParseEndpoint(address, port, local)) {
    failure = {"EINVAL", "the tunnel's address is not IPv4 or IPv6: " + address};
    return nullptr;
  }
  auto tunnel = std::make_unique<Tunnel>();
  tunnel->socket_ = Descriptor(socket(local.address.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!tunnel->socket_) {
    failure = SystemFailure(errno, "opening the tunnel's socket");
    return nullptr;
  }
  EnlargeBuffers(tunnel->fd());
  // A full-size frame and its header exceed the link's MTU: let IP fragment on the way too.
  const int fragment = IP_PMTUDISC_DONT;
  if (local.address.ss_family == AF_INET) setsockopt(tunnel->fd(), IPPROTO_IP, IP_MTU_DISCOVER, &fragment, sizeof fragment);
  else setsockopt(tunnel->fd(), IPPROTO_IPV6, IPV6_MTU_DISCOVER, &fragment, sizeof fragment);
  if (bind(tunnel->fd(), reinterpret_cast<const sockaddr*>(&local.address), local.bytes) != 0) {
    failure = SystemFailure(errno, "binding the tunnel to " + name);
    return nullptr;
  }
  return tunnel;
}

void Tunnel::Send(const Endpoint& to, const Header& header, const Key& key, FrameRef frame) {
  if (frame && queue_.size() >= kTunnelQueueFrames) {
    dropped++;
    return;
  }
  Queued& queued = queue_.emplace_back();
  queued.to = to;
  queued.headerBytes = EncodeHeader(header, queued.header.data());
  queued.seal = SealOf(key, queued.header.data(), queued.headerBytes, frame ? frame->data() : nullptr, frame ? frame->size() : 0);
  queued.frame = std::move(frame);
  if (!blocked_ && queue_.size() >= kBatchFrames) Flush();
}

void Tunnel::Flush() {
  blocked_ = false;
  while (!queue_.empty()) {
    std::array<mmsghdr, kBatchFrames> messages{};
    std::array<iovec, 3 * kBatchFrames> vectors{};
    const size_t count = std::min(queue_.size(), kBatchFrames);
    for (size_t i = 0; i < count; i++) {
      Queued& queued = queue_[i];
      iovec* part = &vectors[3 * i];
      *part++ = {queued.header.data(), queued.headerBytes};
      if (queued.frame) *part++ = {const_cast<uint8_t*>(queued.frame->data()), queued.frame->size()};
      *part++ = {queued.seal.data(), queued.seal.size()};
      msghdr& message = messages[i].msg_hdr;
      message.msg_name = &queued.to.address;
      message.msg_namelen = queued.to.bytes;
      message.msg_iov = &vectors[3 * i];
      message.msg_iovlen = static_cast<size_t>(part - &vectors[3 * i]);
    }
    const int taken = sendmmsg(fd(), messages.data(), static_cast<unsigned>(count), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (taken > 0) {
      queue_.erase(queue_.begin(), queue_.begin() + taken);
    } else if (errno == EAGAIN) {
      blocked_ = true;
      return;
    } else if (errno != EINTR) {
      dropped++;  // no route, or refused by a filter: this datagram is lost like any other in the network
      queue_.pop_front();
    }
  }
}

}  // namespace virtcft::fabric
