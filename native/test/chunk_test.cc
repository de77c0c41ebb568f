// Chunks: damaged and hostile ones are refused within their bounds, what is zero stays a hole.
#include <fcntl.h>
#include <unistd.h>
#include <zstd.h>

#include <random>
#include <vector>

#include "../src/memory/descriptor.h"
#include "../src/memory/page.h"
#include "../src/section/chunk.h"
#include "../src/section/sha256.h"
#include "check.h"

using namespace virtcft;
using Bytes = std::vector<uint8_t>;

static std::string hashOf(const Bytes& bytes) {
  Sha256 digest;
  digest.update(bytes.data(), bytes.size());
  return digest.finish();
}

static Bytes frameOf(const Bytes& content) {
  Bytes frame(ZSTD_compressBound(content.size()));
  const size_t length = ZSTD_compress(frame.data(), frame.size(), content.data(), content.size(), 1);
  CHECK(!ZSTD_isError(length));
  frame.resize(length);
  return frame;
}

/** Every second page is zero, the others are half random. */
static Bytes someContent(size_t bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes content(bytes, 0x41);
  for (size_t at = 0; at < bytes; at++) {
    if (at / kPageBytes % 2 == 1) content[at] = 0;
    else if (at % 2 == 1) content[at] = static_cast<uint8_t>(random());
  }
  return content;
}

static bool equal(std::span<const uint8_t> one, const Bytes& other) { return one.size() == other.size() && std::memcmp(one.data(), other.data(), other.size()) == 0; }

int main(int, char** arguments) {
  const int scale = arguments[1] ? std::atoi(arguments[1]) : 1;
  std::printf("chunk\n");

  test("a chunk is what its hash names, of any length", [] {
    for (const size_t bytes : {size_t{1}, size_t{4095}, size_t{4097}, size_t{20'000}, chunk::kBytes}) {
      const Bytes content = someContent(bytes, bytes);
      const Bytes stored = frameOf(content);
      CHECK(equal(chunk::expand(stored, hashOf(content), bytes), content));
      CHECK(equal(chunk::expand(stored, hashOf(content), std::nullopt), content));
      CHECK_FAILS("EBADCHUNK", chunk::expand(stored, hashOf(content), bytes + 1));
      CHECK_FAILS("EBADCHUNK", chunk::expand(stored, hashOf(Bytes(bytes, 7)), bytes));
    }
  });

  test("what is too long, all zero, empty, cut short or followed by more is refused", [] {
    for (const Bytes& content : {Bytes(chunk::kBytes + 1, 1), Bytes(5'000, 0), Bytes()}) CHECK_FAILS("EBADCHUNK", chunk::expand(frameOf(content), hashOf(content), content.size()));
    const Bytes content = someContent(9'000, 1);
    Bytes stored = frameOf(content);
    for (size_t length = 0; length < stored.size(); length += 11) CHECK_FAILS("EBADCHUNK", chunk::expand({stored.data(), length}, hashOf(content), 9'000));
    const Bytes more = frameOf({});
    stored.insert(stored.end(), more.begin(), more.end());  // a second frame, of nothing: the content is as it was
    CHECK_FAILS("EBADCHUNK", chunk::expand(stored, hashOf(content), 9'000));
  });

  test("any flipped bits give the content or a refusal, never another one", [scale] {
    std::mt19937_64 random(3);
    const Bytes content = someContent(30'000, 2);
    const Bytes stored = frameOf(content);
    size_t refused = 0;
    for (int i = 0; i < 3'000 * scale; i++) {
      Bytes damaged = stored;
      for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; flips--) damaged[random() % damaged.size()] ^= static_cast<uint8_t>(1 << random() % 8);
      try {
        CHECK(equal(chunk::expand(damaged, hashOf(content), content.size()), content));
      } catch (const Failure& failure) {
        CHECK(failure.is(code::kBadChunk));
        refused++;
      }
    }
    CHECK(refused > 2'500u * static_cast<unsigned>(scale));
  });

  test("blocks of zeros stay holes of the file", [] {
    char path[] = "/tmp/virtcft-chunk-XXXXXX";
    const Descriptor file(::mkstemp(path));
    CHECK(::unlink(path) == 0);
    const Bytes content = someContent(9 * kPageBytes + 100, 4);
    chunk::writeSparse(file.get(), 3 * kPageBytes, content);
    Bytes found(content.size());
    CHECK(::pread(file.get(), found.data(), found.size(), 3 * kPageBytes) == static_cast<ssize_t>(found.size() - 100));  // its last block is zeros
    CHECK(equal(found, content));
    for (off_t page = 3; page < 12; page += 2) {
      CHECK(::lseek(file.get(), (page - 1) * static_cast<off_t>(kPageBytes), SEEK_DATA) == page * static_cast<off_t>(kPageBytes));
    }
    CHECK_FAILS("EIO", chunk::writeSparse(-1, 0, content));
  });
}
