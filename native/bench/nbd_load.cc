// Loads an NBD server for some time, always with the same number of requests under way, and says what it did.
// Usage: nbd_load SOCKET seq_read|seq_write|rand_read_4k|rand_write_4k SECONDS SEED
#include <chrono>
#include <cstdio>
#include <map>
#include <random>

#include "../test/nbd_client.h"

using namespace virtcft;

namespace {
constexpr size_t kUnderWay = 16;
constexpr size_t kSequentialBytes = 256 << 10;
constexpr size_t kRandomBytes = 4096;
}  // namespace

int main(int count, char** arguments) {
  if (count != 5) return 2;
  const std::string pattern = arguments[2];
  const bool sequential = pattern.starts_with("seq"), writes = pattern.find("write") != std::string::npos;
  const auto length = static_cast<uint32_t>(sequential ? kSequentialBytes : kRandomBytes);
  std::mt19937_64 random(std::strtoull(arguments[4], nullptr, 10));
  NbdClient client(arguments[1]);
  std::vector<uint8_t> data(length);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
  const uint64_t places = client.bytes() / length;
  uint64_t sent = 0, answered = 0;
  const auto send = [&] {
    const uint64_t place = sequential ? sent % places : random() % places;
    std::memcpy(data.data(), &sent, sizeof sent);  // no two writes are the same
    client.send(writes ? nbd::kWrite : nbd::kRead, sent++, place * length, length, data.data());
  };
  const auto start = std::chrono::steady_clock::now();
  const auto end = start + std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(std::strtod(arguments[3], nullptr)));
  auto now = start;
  for (size_t i = 0; i < kUnderWay; i++) send();
  while (answered < sent) {
    const auto reply = client.receive([&](uint64_t) { return std::pair<uint8_t*, size_t>{data.data(), writes ? 0 : length}; });
    if (reply.error != 0) {
      std::fprintf(stderr, "request %llu failed with %u\n", static_cast<unsigned long long>(reply.cookie), reply.error);
      return 1;
    }
    answered++;
    now = std::chrono::steady_clock::now();
    if (now < end) send();
  }
  const double seconds = std::chrono::duration<double>(now - start).count();
  std::printf("{\"operations\":%llu,\"bytes\":%llu,\"seconds\":%.6f}\n", static_cast<unsigned long long>(answered), static_cast<unsigned long long>(answered * length), seconds);
  return 0;
}
