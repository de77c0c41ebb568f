// A small NBD client of a unix socket: fixed newstyle, simple or structured replies, requests one by one or many at once.
#pragma once
#include <sys/socket.h>
#include <sys/un.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "../src/disk/nbd.h"
#include "../src/memory/descriptor.h"

class NbdClient {
 public:
  explicit NbdClient(const std::string& path, bool structured = false) : fd_(connectTo(path)) {
    std::vector<uint8_t> greeting = take(18);
    if (virtcft::nbd::load<uint64_t>(greeting.data()) != virtcft::nbd::kGreeting) throw std::runtime_error("not an NBD server");
    uint8_t flags[4];
    virtcft::nbd::store<uint32_t>(flags, 3);
    put(flags, sizeof flags);
    if (structured) {
      option(virtcft::nbd::kStructuredReply, {});
      structured_ = reply().first == virtcft::nbd::kAck;
    }
    option(virtcft::nbd::kGo, {0, 0, 0, 0, 0, 0});
    for (;;) {
      const auto [type, data] = reply();
      if (type == virtcft::nbd::kAck) break;
      if (type != virtcft::nbd::kInfoReply) throw std::runtime_error("export refused");
      if (virtcft::nbd::load<uint16_t>(data.data()) == virtcft::nbd::kInfoExport) bytes_ = virtcft::nbd::load<uint64_t>(data.data() + 2);
    }
  }

  static virtcft::Descriptor connectTo(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    virtcft::Descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) throw std::runtime_error("cannot connect to " + path);
    return fd;
  }

  int fd() const { return fd_.get(); }
  uint64_t bytes() const { return bytes_; }

  void send(uint16_t command, uint64_t cookie, uint64_t offset, uint32_t length, const uint8_t* data = nullptr, uint16_t flags = 0) {
    uint8_t header[virtcft::nbd::kRequestBytes];
    uint8_t* at = virtcft::nbd::store(header, virtcft::nbd::kRequestMagic);
    at = virtcft::nbd::store(virtcft::nbd::store(at, flags), command);
    virtcft::nbd::store(virtcft::nbd::store(virtcft::nbd::store(at, cookie), offset), length);
    put(header, sizeof header);
    if (command == virtcft::nbd::kWrite) put(data, length);
  }
  struct Reply {
    uint64_t cookie;
    uint32_t error;
  };
  /** `into`: where a read's data go, by its cookie; called only for reads. */
  template <class Into>
  Reply receive(Into into) {
    const std::vector<uint8_t> head = take(16);
    if (virtcft::nbd::load<uint32_t>(head.data()) == virtcft::nbd::kSimpleReplyMagic) {
      const Reply reply{virtcft::nbd::load<uint64_t>(head.data() + 8), virtcft::nbd::load<uint32_t>(head.data() + 4)};
      const auto [to, length] = into(reply.cookie);
      if (reply.error == 0 && length > 0) get(to, length);
      return reply;
    }
    if (virtcft::nbd::load<uint32_t>(head.data()) != virtcft::nbd::kStructuredReplyMagic) throw std::runtime_error("no reply");
    const auto cookie = virtcft::nbd::load<uint64_t>(head.data() + 8);
    const auto type = virtcft::nbd::load<uint16_t>(head.data() + 6);
    const auto length = virtcft::nbd::load<uint32_t>(take(4).data());
    if (type == virtcft::nbd::kReplyError) return {cookie, virtcft::nbd::load<uint32_t>(take(length).data())};
    if (type == virtcft::nbd::kReplyNone) return {cookie, 0};
    const auto [to, wanted] = into(cookie);
    take(8);
    if (length != wanted + 8) throw std::runtime_error("a read of another length");
    get(to, wanted);
    return {cookie, 0};
  }

  uint32_t call(uint16_t command, uint64_t offset, uint32_t length, uint8_t* data, uint16_t flags = 0) {
    send(command, 7, offset, length, data, flags);
    return receive([&](uint64_t) { return std::pair<uint8_t*, size_t>{data, command == virtcft::nbd::kRead ? length : 0}; }).error;
  }
  std::vector<uint8_t> read(uint64_t offset, uint32_t length) {
    std::vector<uint8_t> data(length);
    if (call(virtcft::nbd::kRead, offset, length, data.data()) != 0) throw std::runtime_error("read refused");
    return data;
  }
  uint32_t write(uint64_t offset, std::vector<uint8_t> data) { return call(virtcft::nbd::kWrite, offset, static_cast<uint32_t>(data.size()), data.data()); }

  void put(const void* bytes, size_t length) {
    for (size_t done = 0; done < length;) {
      const ssize_t sent = ::send(fd_.get(), static_cast<const uint8_t*>(bytes) + done, length - done, MSG_NOSIGNAL);
      if (sent <= 0) throw std::runtime_error("the server has ended the connection");
      done += static_cast<size_t>(sent);
    }
  }
  void get(uint8_t* to, size_t length) {
    for (size_t done = 0; done < length;) {
      const ssize_t got = ::recv(fd_.get(), to + done, length - done, 0);
      if (got <= 0) throw std::runtime_error("the server has ended the connection");
      done += static_cast<size_t>(got);
    }
  }

 private:
  std::vector<uint8_t> take(size_t length) {
    std::vector<uint8_t> bytes(length);
    get(bytes.data(), length);
    return bytes;
  }
  void option(uint32_t option, const std::vector<uint8_t>& data) {
    uint8_t header[16];
    uint8_t* at = virtcft::nbd::store(header, virtcft::nbd::kOptionMagic);
    virtcft::nbd::store(virtcft::nbd::store(at, option), static_cast<uint32_t>(data.size()));
    put(header, sizeof header);
    put(data.data(), data.size());
  }
  std::pair<uint32_t, std::vector<uint8_t>> reply() {
    const std::vector<uint8_t> head = take(20);
    return {virtcft::nbd::load<uint32_t>(head.data() + 12), take(virtcft::nbd::load<uint32_t>(head.data() + 16))};
  }

  virtcft::Descriptor fd_;
  uint64_t bytes_ = 0;
  bool structured_ = false;
};
