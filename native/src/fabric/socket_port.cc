#include "socket_port.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>

#include "limits.h"

namespace virtcft::fabric {
namespace {

/** The kernel accounts at least this much per unread datagram above its bytes (sk_buff and skb_shared_info). */
constexpr int64_t kDatagramOverheadBytes = 512;

/** How many datagrams a unix socket holds unread: net.unix.max_dgram_qlen and one. */
size_t SocketQueueFrames() {
  std::ifstream file("/proc/sys/net/unix/max_dgram_qlen");
  size_t frames = 0;
  return file >> frames ? std::min<size_t>(frames, 4096) + 1 : 11;
}

sockaddr_un Address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(path.begin(), path.end(), address.sun_path);
  return address;
}

/** A socket left by an agent that died is replaced; any other file is not ours to remove. */
Failure ClearPath(const std::string& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode)) return {"EEXIST", path + " exists and is not a socket; remove it or choose another path"};
  if (unlink(path.c_str()) != 0) return SystemFailure(errno, "removing the old socket " + path);
  return {};
}

}  // namespace

SocketPort::SocketPort(Mac nic, std::string path, std::string peerPath, size_t queueFrames)
    : Port(nic, queueFrames, SocketQueueFrames() + 1), path_(std::move(path)), peerPath_(std::move(peerPath)) {}

std::unique_ptr<Port> SocketPort::Open(Mac nic, const std::string& path, const std::string& peerPath, size_t queueFrames, Failure& failure) {
  for (const std::string& each : {path, peerPath}) {
    if (each.empty() || each.size() >= sizeof(sockaddr_un::sun_path)) {
      failure = {"ENAMETOOLONG", "a unix socket path has 1 to 107 bytes, not " + std::to_string(each.size()) + ": " + each};
      return nullptr;
    }
  }
  if (failure = ClearPath(path); failure) return nullptr;
  std::unique_ptr<SocketPort> port(new SocketPort(nic, path, peerPath, queueFrames));
  port->receiver_ = Descriptor(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  port->sender_ = Descriptor(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!port->receiver_ || !port->sender_) {
    failure = SystemFailure(errno, "opening a unix socket");
    return nullptr;
  }
  EnlargeBuffers(port->receiver_.get());
  EnlargeBuffers(port->sender_.get());
  const sockaddr_un address = Address(path);
  if (bind(port->receiver_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    failure = SystemFailure(errno, "binding the port " + path);
    return nullptr;
  }
  return port;
}

SocketPort::~SocketPort() {
  if (receiver_) unlink(path_.c_str());
}

bool SocketPort::Connect() {
  const sockaddr_un address = Address(peerPath_);
  connected_ = connect(sender_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  return connected_;
}

void SocketPort::Inject(const std::vector<FrameRef>& frames) {
  Port::Inject(frames);
  // A restored VM is another process at the same path: find it anew, even while the old one is still ending.
  connected_ = false;
}

void SocketPort::Flush(int64_t now_us) {
  blocked_ = false;
  retry_us_ = 0;
  bool reconnected = false;
  while (!queue_.empty()) {
    if (!connected_ && !Connect()) {
      WaitForGuest(now_us);
      return;
    }
    std::array<mmsghdr, kBatchFrames> messages{};
    std::array<iovec, kBatchFrames> vectors{};
    const size_t count = std::min(queue_.size(), kBatchFrames);
    for (size_t i = 0; i < count; i++) {
      const Bytes& frame = *queue_[i].frame;
      vectors[i] = {const_cast<uint8_t*>(frame.data()), frame.size()};
      messages[i].msg_hdr.msg_iov = &vectors[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    const int taken = sendmmsg(sender_.get(), messages.data(), static_cast<unsigned>(count), MSG_DONTWAIT | MSG_NOSIGNAL);
    for (int i = 0; i < taken; i++) Handing(now_us);
    if (taken > 0) continue;
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) {
      blocked_ = errno == EAGAIN;
      if (!blocked_) retry_us_ = now_us + kPortRetryUs;
      return;
    }
    if (errno == ECONNREFUSED || errno == ENOTCONN || errno == ECONNRESET || errno == EPIPE) {
      connected_ = false;  // the hypervisor was restarted, or is gone
      handed_.clear();
      if (reconnected) {
        WaitForGuest(now_us);
        return;
      }
      reconnected = true;
      continue;
    }
    dropped++;  // this one frame is refused (larger than the peer's buffer)
    queue_.pop_front();
  }
}

void SocketPort::ForEachUntaken(int64_t stopped_us, const std::function<void(const FrameRef&)>& visit) const {
  int unread = 0;
  if (connected_ && ioctl(sender_.get(), SIOCOUTQ, &unread) != 0) unread = INT32_MAX;
  size_t count = 0;
  int64_t counted = 0;
  // Counting each frame at less than its true cost takes a few more than lie there: a duplicate is legal, a loss is a retransmit.
  while (count < handed_.size() && counted < unread) {
    counted += static_cast<int64_t>(handed_[handed_.size() - 1 - count].frame->size()) + kDatagramOverheadBytes;
    count++;
  }
  // One more may have been read by the hypervisor and not given to the stopped guest.
  if (count < handed_.size() && stopped_us - handed_[handed_.size() - 1 - count].at_us < kHandedUs) count++;
  for (size_t i = handed_.size() - count; i < handed_.size(); i++) visit(handed_[i].frame);
  for (const Queued& queued : queue_) visit(queued.frame);
}

void SocketPort::Discard(Batch& batch) {
  Port::Discard(batch);
  connected_ = false;
}

}  // namespace virtcft::fabric
