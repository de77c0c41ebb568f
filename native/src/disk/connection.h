// One client of a disk's server: its bytes in both directions, and what of it is not answered yet.
#pragma once
#include <sys/types.h>

#include <memory>
#include <optional>

#include "../memory/descriptor.h"
#include "byte_queue.h"
#include "handshake.h"
#include "nbd.h"

namespace virtcft {

class Connection {
 public:
  Connection(Descriptor fd, uint64_t id, uint64_t diskBytes);

  int fd() const { return fd_.get(); }
  uint64_t id() const { return id_; }
  bool entered() const { return entered_; }

  enum class Received { kBytes, kNothing, kEnd };
  Received receive();
  /** Goes on with the handshake; false when the connection is to end. */
  bool shakeHands();
  /** The next whole request, if there is one; `payload` is valid until it is `done`. `kBad`: nothing after it can be understood. */
  enum class Next { kRequest, kMore, kBad };
  Next next(nbd::Request& request, const uint8_t*& payload);
  void done(const nbd::Request& request);

  /** Where the data of an answer to this read goes; `answerRead` sends it. */
  uint8_t* roomFor(const nbd::Request& read);
  void answerRead(const nbd::Request& read);
  void answer(const nbd::Request& request, nbd::Error error);
  /** False when the peer is gone. */
  bool send();
  bool stuck() const { return stuck_; }
  size_t unsentBytes() const { return out_.size(); }

  // What waits for a fill or for the storage.
  size_t waitingRequests = 0;
  size_t waitingBytes = 0;
  bool mayTake() const { return !stuck_ && waitingRequests < kMostWaitingRequests && waitingBytes < kMostWaitingBytes; }
  /** Answers that are not sent, and a request that has not come in full. */
  size_t unfinished() const { return (out_.size() > 0 ? unsentAnswers_ : 0) + (entered_ && in_.size() > 0 ? 1 : 0); }

  uint32_t polled = 0;   // what epoll was told
  size_t counted = 0;    // what of it is in the server's count of requests that are not answered

 private:
  static size_t payloadOf(const nbd::Request& request) { return request.command == nbd::kWrite ? request.length : 0; }
  nbd::Request peek() const;

  Descriptor fd_;
  uint64_t id_;
  Handshake handshake_;
  bool entered_ = false;
  bool stuck_ = false;
  ByteQueue in_, out_;
  size_t unsentAnswers_ = 0;
};

}  // namespace virtcft
