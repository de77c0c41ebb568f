#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "frame.h"
#include "seal.h"
#include "socket.h"
#include "wire.h"

namespace virtcft::fabric {

/** An IPv4 or IPv6 address and port. */
struct Endpoint {
  sockaddr_storage address{};
  socklen_t bytes = 0;
};
bool ParseEndpoint(const std::string& address, uint16_t port, Endpoint& endpoint);

/** The UDP socket to all peers; datagrams leave in the order they were queued. */
class Tunnel {
 public:
  static std::unique_ptr<Tunnel> Open(const std::string& address, uint16_t port, Failure& failure);
  /** Sealed with `key`. `frame` null for markers, acknowledgements and hellos. A full queue drops frames (counted), never the others. */
  void Send(const Endpoint& to, const Header& header, const Key& key, FrameRef frame);
  void Flush();
  int fd() const { return socket_.get(); }
  bool blocked() const { return blocked_; }
  size_t queued() const { return queue_.size(); }
  uint64_t dropped = 0;

 private:
  struct Queued {
    Endpoint to;
    std::array<uint8_t, kMaxHeaderBytes> header;
    size_t headerBytes;
    FrameRef frame;
    SealBytes seal;
  };
  Descriptor socket_;
  std::deque<Queued> queue_;
  bool blocked_ = false;
};

}  // namespace virtcft::fabric
