#include "edge.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "limits.h"
#include "offload.h"

namespace virtcft::fabric {
namespace {

/** A receive offload may join segments up to this. */
constexpr size_t kMaxJoinedBytes = 65536 + 64;
constexpr size_t kEdgeBatch = 32;
constexpr int64_t kRetryUs = 2'000;

}  // namespace

Edge::Edge(Descriptor socket) : socket_(std::move(socket)), batch_(kEdgeBatch, sizeof(Offload) + kMaxJoinedBytes) {}

std::unique_ptr<Edge> Edge::Open(const std::string& interface, Failure& failure) {
  const unsigned index = if_nametoindex(interface.c_str());
  if (index == 0) {
    failure = {"ENODEV", "there is no interface " + interface + " for the edge; create it or name another"};
    return nullptr;
  }
  // Protocol 0: nothing is received before the socket is bound to its interface.
  Descriptor fd(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) {
    failure = SystemFailure(errno, "opening a packet socket for the edge (needs root or CAP_NET_RAW)");
    return nullptr;
  }
  EnlargeBuffers(fd.get());
  const int on = 1;
  if (setsockopt(fd.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0) {
    failure = SystemFailure(errno, "asking for offload headers on " + interface);
    return nullptr;
  }
  if (setsockopt(fd.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) != 0) {
    failure = SystemFailure(errno, "ignoring the host's own frames on " + interface);
    return nullptr;
  }
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(index);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    failure = SystemFailure(errno, "binding the edge to " + interface);
    return nullptr;
  }
  packet_mreq promiscuous{};
  promiscuous.mr_ifindex = static_cast<int>(index);
  promiscuous.mr_type = PACKET_MR_PROMISC;
  if (setsockopt(fd.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous) != 0) {
    failure = SystemFailure(errno, "listening to all frames of " + interface);
    return nullptr;
  }
  return std::unique_ptr<Edge>(new Edge(std::move(fd)));
}

void Edge::Flush(int64_t now_us) {
  blocked_ = false;
  retry_us_ = 0;
  static const Offload plain;
  while (!queue_.empty()) {
    std::array<mmsghdr, kBatchFrames> messages{};
    std::array<iovec, 2 * kBatchFrames> vectors{};
    const size_t count = std::min(queue_.size(), kBatchFrames);
    for (size_t i = 0; i < count; i++) {
      const Bytes& frame = *queue_[i];
      vectors[2 * i] = {const_cast<Offload*>(&plain), sizeof plain};
      vectors[2 * i + 1] = {const_cast<uint8_t*>(frame.data()), frame.size()};
      messages[i].msg_hdr.msg_iov = &vectors[2 * i];
      messages[i].msg_hdr.msg_iovlen = 2;
    }
    const int taken = sendmmsg(fd(), messages.data(), static_cast<unsigned>(count), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (taken > 0) {
      queue_.erase(queue_.begin(), queue_.begin() + taken);
    } else if (errno == EAGAIN) {
      blocked_ = true;
      return;
    } else if (errno == ENOBUFS || errno == ENOMEM) {
      retry_us_ = now_us + kRetryUs;  // the interface's own queue is full; it has no poll state
      return;
    } else if (errno != EINTR) {
      dropped++;  // link down, or a frame above the interface's MTU: lost as on a pulled cable
      queue_.pop_front();
    }
  }
}

size_t Edge::Receive(const std::function<void(FrameRef)>& take, size_t maxFrame) {
  const size_t count = batch_.Receive(fd());
  for (size_t i = 0; i < count; i++) {
    if (batch_.truncated(i) || batch_.bytes(i) < sizeof(Offload) + kEthernetHeaderBytes) {
      dropped++;
      continue;
    }
    Offload offload;
    std::copy_n(batch_.at(i), sizeof offload, reinterpret_cast<uint8_t*>(&offload));
    const uint8_t* at = batch_.at(i) + sizeof offload;
    if (!CompleteFrame(offload, at, batch_.bytes(i) - sizeof offload, maxFrame, take)) dropped++;
  }
  return count;
}

}  // namespace virtcft::fabric
