#include "tap_port.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "limits.h"

namespace virtcft::fabric {
namespace {

ifreq Named(const std::string& tap) {
  ifreq request{};
  std::copy(tap.begin(), tap.end(), request.ifr_name);
  return request;
}

Failure BringUp(const std::string& tap, size_t mtu) {
  const Descriptor control(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request = Named(tap);
  request.ifr_mtu = static_cast<int>(mtu);
  if (ioctl(control.get(), SIOCSIFMTU, &request) != 0) return SystemFailure(errno, "setting the MTU of " + tap);
  request = Named(tap);
  if (ioctl(control.get(), SIOCGIFFLAGS, &request) != 0) return SystemFailure(errno, "looking at " + tap);
  request.ifr_flags |= IFF_UP;
  if (ioctl(control.get(), SIOCSIFFLAGS, &request) != 0) return SystemFailure(errno, "setting " + tap + " up");
  return {};
}

}  // namespace

TapPort::TapPort(Mac nic, size_t queueFrames) : Port(nic, queueFrames, kTapHandedFrames) {}

std::unique_ptr<Port> TapPort::Open(Mac nic, const std::string& tap, size_t mtu, size_t queueFrames, Failure& failure) {
  // The kernel would take a `%d` for a pattern.
  if (tap.empty() || tap.size() >= IFNAMSIZ || tap.find_first_of("%/: ") != std::string::npos) {
    failure = {"EINVAL", "a TAP's name has 1 to 15 characters, without spaces, '/', ':' and '%': " + tap};
    return nullptr;
  }
  std::unique_ptr<TapPort> port(new TapPort(nic, queueFrames));
  port->receiver_ = Descriptor(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!port->receiver_) {
    failure = SystemFailure(errno, "opening /dev/net/tun (needs the kernel's tun module)");
    return nullptr;
  }
  ifreq request = Named(tap);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (ioctl(port->receiver_.get(), TUNSETIFF, &request) != 0) {
    failure = SystemFailure(errno, "opening the TAP " + tap + " (needs CAP_NET_ADMIN; EBUSY: another program has it, EINVAL: it is no TAP)");
    return nullptr;
  }
  // A descriptor of its own, since an epoll knows one interest for each.
  port->sender_ = Descriptor(fcntl(port->receiver_.get(), F_DUPFD_CLOEXEC, 0));
  if (ioctl(port->receiver_.get(), TUNSETOFFLOAD, 0) != 0) failure = SystemFailure(errno, "switching the offloads of " + tap + " off");
  else failure = BringUp(tap, mtu);
  if (failure) return nullptr;
  return port;
}

size_t TapPort::Receive(Batch& batch) {
  const size_t count = batch.ReadEach(receiver_.get());
  if (count == 0 && receiver_ && errno != EAGAIN) Failed();
  return count;
}

void TapPort::Failed() {
  receiver_.Close();
  sender_.Close();
  blocked_ = false;
  handed_.clear();
}

void TapPort::Flush(int64_t now_us) {
  blocked_ = false;
  retry_us_ = 0;
  while (!queue_.empty()) {
    if (!sender_) return WaitForGuest(now_us);
    const Bytes& frame = *queue_.front().frame;
    if (write(sender_.get(), frame.data(), frame.size()) >= 0) {
      Handing(now_us);
    } else if (errno == EAGAIN) {
      blocked_ = true;
      return;
    } else if (errno == EIO || errno == EBADFD) {
      return WaitForGuest(now_us);  // down, or gone: an unplugged cable
    } else if (errno == ENOBUFS || errno == ENOMEM) {
      retry_us_ = now_us + kPortRetryUs;
      return;
    } else if (errno != EINTR) {
      dropped++;
      queue_.pop_front();
    }
  }
}

void TapPort::ForEachUntaken(int64_t stopped_us, const std::function<void(const FrameRef&)>& visit) const {
  for (const Handed& handed : handed_) {
    if (stopped_us - handed.at_us < kHandedUs) visit(handed.frame);
  }
  for (const Queued& queued : queue_) visit(queued.frame);
}

}  // namespace virtcft::fabric
