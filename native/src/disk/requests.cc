// What a disk's server does with the requests of its clients.
#include "server.h"

namespace virtcft {

nbd::Error Server::refusal(const nbd::Request& request, size_t diskBytes) {
  const bool within = request.offset <= diskBytes && request.length <= diskBytes - request.offset;
  if (request.flags & ~nbd::kKnownFlags) return nbd::kEinval;
  switch (request.command) {
    case nbd::kRead: return within && request.length <= kMostRequestBytes ? nbd::kOk : nbd::kEinval;
    case nbd::kWrite:
    case nbd::kWriteZeroes: return within ? nbd::kOk : nbd::kEnospc;
    case nbd::kTrim: return within ? nbd::kOk : nbd::kEinval;
    case nbd::kFlush: return nbd::kOk;
    default: return nbd::kEinval;
  }
}

void Server::take(Connection& connection, const nbd::Request& request, const uint8_t* payload) {
  switch (request.command) {
    case nbd::kRead: counts_.reads++, counts_.read_bytes += request.length; break;
    case nbd::kWrite: counts_.writes++, counts_.written_bytes += request.length; break;
    case nbd::kFlush: counts_.flushes++; break;
    default: break;
  }
  if (const nbd::Error error = refusal(request, image_.bytes())) {
    connection.answer(request, error);
    return;
  }
  switch (const Answer answer = attempt(connection, request, payload)) {
    case Answer::kAbsent: park(connection, request, payload); break;
    case Answer::kNotCached: readFromStorage(connection, request); break;
    default: conclude(connection, request, answer);
  }
}

Answer Server::attempt(Connection& connection, const nbd::Request& request, const uint8_t* payload) {
  if (request.length == 0) return Answer::kDone;
  switch (request.command) {
    case nbd::kRead: return image_.read(request.offset, request.length, connection.roomFor(request), true, places_);
    case nbd::kWrite: return image_.write(request.offset, request.length, payload);
    case nbd::kTrim: return image_.zero(request.offset, request.length, false);
    case nbd::kWriteZeroes: return image_.zero(request.offset, request.length, true);
    default: return Answer::kDone;  // a flush, and FUA: what was answered outlives the process already, and more is not promised (R23a)
  }
}

void Server::conclude(Connection& connection, const nbd::Request& request, Answer answer) {
  if (answer == Answer::kDone && request.command == nbd::kRead) {
    connection.answerRead(request);
  } else {
    connection.answer(request, answer == Answer::kDone ? nbd::kOk : answer == Answer::kNoRoom ? nbd::kEnospc : nbd::kEio);
  }
}

void Server::park(Connection& connection, const nbd::Request& request, const uint8_t* payload) {
  counts_.waited++;
  Waiting waiting{connection.id(), request, nullptr};
  if (request.command == nbd::kWrite) {
    waiting.bytes.reset(new uint8_t[request.length]);
    std::memcpy(waiting.bytes.get(), payload, request.length);
    connection.waitingBytes += request.length;
  }
  connection.waitingRequests++;
  parked_.push_back(std::move(waiting));
  std::vector<BlockNumber> blocks;
  image_.absent(request.offset, request.length, blocks);
  if (request.command != nbd::kRead) {  // only the ends of what is written, where they are parts of blocks
    const auto partial = [&](BlockNumber block) {
      const size_t start = size_t{block} * kPageBytes;
      return start < request.offset || start + kPageBytes > request.offset + request.length;
    };
    std::erase_if(blocks, [&](BlockNumber block) { return !partial(block); });
  }
  {
    std::lock_guard lock(mutex_);
    std::erase_if(blocks, [this](BlockNumber block) { return !asked_.insert(block).second; });
  }
  if (!blocks.empty()) wanted_(blocks);
}

void Server::readFromStorage(Connection& connection, const nbd::Request& request) {
  connection.waitingRequests++;
  connection.waitingBytes += request.length;
  workers_.post([this, id = connection.id(), request] {
    Waiting read{id, request, nullptr};
    try {
      read.bytes.reset(new uint8_t[request.length]);
      std::vector<Place> places;
      read.answer = image_.read(request.offset, request.length, read.bytes.get(), false, places);
    } catch (const std::bad_alloc&) {
      read.answer = Answer::kFailed;
    }
    std::lock_guard lock(mutex_);
    finished_.push_back(std::move(read));
    kick();
  });
}

void Server::takeFinished() {
  std::vector<Waiting> finished;
  {
    std::lock_guard lock(mutex_);
    finished.swap(finished_);
  }
  for (const Waiting& read : finished) {
    const auto found = connections_.find(read.connection);
    if (found == connections_.end()) continue;
    Connection& connection = *found->second;
    connection.waitingRequests--;
    connection.waitingBytes -= read.request.length;
    attend(connection, false, [&] {
      if (read.answer == Answer::kDone) std::memcpy(connection.roomFor(read.request), read.bytes.get(), read.request.length);
      conclude(connection, read.request, read.answer);
    });
  }
}

void Server::retryParked() {
  std::vector<Waiting> retried;
  retried.swap(parked_);
  {
    std::lock_guard lock(mutex_);
    std::vector<BlockNumber> still;
    for (const BlockNumber block : asked_) image_.absent(size_t{block} * kPageBytes, 1, still);
    asked_ = {still.begin(), still.end()};
  }
  for (Waiting& waiting : retried) {
    const auto found = connections_.find(waiting.connection);
    if (found == connections_.end()) continue;
    Connection& connection = *found->second;
    attend(connection, false, [&] {
      const nbd::Request request = waiting.request;
      const Answer answer = attempt(connection, request, waiting.bytes.get());
      if (answer == Answer::kAbsent) {
        parked_.push_back(std::move(waiting));
        return;
      }
      connection.waitingRequests--;
      if (request.command == nbd::kWrite) connection.waitingBytes -= request.length;
      if (answer == Answer::kNotCached) {
        readFromStorage(connection, request);
      } else {
        conclude(connection, request, answer);
      }
    });
  }
}

}  // namespace virtcft
