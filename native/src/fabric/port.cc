#include "port.h"

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

Port::Port(Mac nic, std::string path, std::string peerPath, size_t queueFrames)
    : nic_(nic), path_(std::move(path)), peerPath_(std::move(peerPath)), queueFrames_(queueFrames), handedKept_(SocketQueueFrames() + 1) {}

std::unique_ptr<Port> Port::Open(Mac nic, const std::string& path, const std::string& peerPath, size_t queueFrames, Failure& failure) {
  for (const std::string& each : {path, peerPath}) {
    if (each.empty() || each.size() >= sizeof(sockaddr_un::sun_path)) {
      failure = {"ENAMETOOLONG", "a unix socket path has 1 to 107 bytes, not " + std::to_string(each.size()) + ": " + each};
      return nullptr;
    }
  }
  if (failure = ClearPath(path); failure) return nullptr;
  std::unique_ptr<Port> port(new Port(nic, path, peerPath, queueFrames));
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

Port::~Port() {
  if (receiver_) unlink(path_.c_str());
}

bool Port::Connect() {
  const sockaddr_un address = Address(peerPath_);
  connected_ = connect(sender_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  return connected_;
}

void Port::Deliver(FrameRef frame) {
  if (queue_.size() >= queueFrames_) {
    dropped++;
    return;
  }
  queue_.push_back({std::move(frame), false});
}

void Port::Inject(const std::vector<FrameRef>& frames) {
  for (auto it = frames.rbegin(); it != frames.rend(); ++it) queue_.push_front({*it, true});
  // A restored VM is another process at the same path: find it anew, even while the old one is still ending.
  connected_ = false;
  blocked_ = false;
  handed_.clear();
}

void Port::Handing(FrameRef frame, int64_t now_us) {
  sent++;
  handed_.push_back({std::move(frame), now_us});
  if (handed_.size() > handedKept_) handed_.pop_front();
}

void Port::Flush(int64_t now_us) {
  blocked_ = false;
  retry_us_ = 0;
  bool reconnected = false;
  while (!queue_.empty()) {
    if (!connected_ && !Connect()) {
      WaitForHypervisor(now_us);
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
    for (int i = 0; i < taken; i++) {
      Handing(std::move(queue_.front().frame), now_us);
      queue_.pop_front();
    }
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
        WaitForHypervisor(now_us);
        return;
      }
      reconnected = true;
      continue;
    }
    dropped++;  // this one frame is refused (larger than the peer's buffer)
    queue_.pop_front();
  }
}

void Port::WaitForHypervisor(int64_t now_us) {
  while (!queue_.empty() && !queue_.front().keep) {
    dropped++;
    queue_.pop_front();
  }
  if (!queue_.empty()) retry_us_ = now_us + kPortRetryUs;
}

void Port::ForEachUntaken(int64_t stopped_us, const std::function<void(const FrameRef&)>& visit) const {
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

void Port::Discard(Batch& batch) {
  queue_.clear();
  handed_.clear();
  blocked_ = false;
  retry_us_ = 0;
  connected_ = false;
  while (batch.Receive(receiver_.get()) > 0) {
  }
}

}  // namespace virtcft::fabric
