#include "chunk.h"

#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <memory>
#include <new>

#include "../memory/failure.h"
#include "../memory/page.h"
#include "sha256.h"

namespace virtcft::chunk {

namespace {

[[noreturn]] void bad(const std::string& reason) { throw Failure(code::kBadChunk, reason); }

/** Kept by a thread: thousands of chunks are read one after the other. */
struct Room {
  struct Free {
    void operator()(ZSTD_DCtx* zstd) const { ZSTD_freeDCtx(zstd); }
  };
  std::unique_ptr<ZSTD_DCtx, Free> zstd{ZSTD_createDCtx()};
  std::unique_ptr<uint8_t[]> content{new uint8_t[kBytes]};
};

bool isZero(const uint8_t* at, size_t length) { return std::memcmp(at, kZeroPage, length) == 0; }

void writeAll(int fd, uint64_t position, const uint8_t* from, size_t length) {
  for (size_t done = 0; done < length;) {
    const ssize_t put = ::pwrite(fd, from + done, length - done, static_cast<off_t>(position + done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) failWith(code::kIo, "write a chunk");
    done += static_cast<size_t>(put);
  }
}

}  // namespace

std::span<const uint8_t> expand(std::span<const uint8_t> stored, const std::string& hash, std::optional<size_t> bytes) {
  thread_local Room room;
  if (!room.zstd) throw std::bad_alloc();
  const size_t frame = ZSTD_findFrameCompressedSize(stored.data(), stored.size());
  if (ZSTD_isError(frame)) bad(ZSTD_getErrorName(frame));
  if (frame != stored.size()) bad("there is more behind its frame of " + std::to_string(frame) + " bytes");
  const size_t length = ZSTD_decompressDCtx(room.zstd.get(), room.content.get(), kBytes, stored.data(), stored.size());
  if (ZSTD_isError(length)) bad(ZSTD_getErrorName(length));
  const std::span<const uint8_t> content(room.content.get(), length);
  Sha256 digest;
  digest.update(content.data(), content.size());
  const std::string found = digest.finish();
  if (found != hash) bad("its hash is " + found + ", " + hash + " is expected");
  if (bytes && length != *bytes) bad("it has " + std::to_string(length) + " bytes, " + std::to_string(*bytes) + " are expected");
  size_t at = 0;
  while (at < length && isZero(content.data() + at, std::min(kPageBytes, length - at))) at += kPageBytes;
  if (at >= length) bad("it is all zero, which an image says by itself");
  return content;
}

void writeSparse(int fd, uint64_t position, std::span<const uint8_t> content) {
  const auto zero = [&](size_t at) { return isZero(content.data() + at, std::min(kPageBytes, content.size() - at)); };
  for (size_t at = 0; at < content.size();) {
    if (zero(at)) {
      at += kPageBytes;
      continue;
    }
    const size_t from = at;
    while (at < content.size() && !zero(at)) at += kPageBytes;
    writeAll(fd, position + from, content.data() + from, std::min(at, content.size()) - from);
  }
}

}  // namespace virtcft::chunk
