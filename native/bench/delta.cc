// Encodes what a trace of captures holds (libs/lab/src/bench/delta-trace.ts), and does with the same pages what others would: a plain copy, and zstd at
// level 1 of all of a section's pages. In turns, so that what drifts hits all alike. Usage: delta <trace> <rounds>. Prints one JSON object.
#include <zstd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "../src/section/section.h"

using namespace virtcft;

namespace {

struct Capture {
  size_t pages;
  std::vector<uint8_t> after, before;
};

std::vector<Capture> readTrace(const char* path) {
  std::ifstream trace(path, std::ios::binary);
  if (!trace) throw std::runtime_error(std::string("cannot open ") + path);
  std::vector<Capture> captures;
  uint32_t head[2];
  while (trace.read(reinterpret_cast<char*>(head), sizeof head)) {
    Capture capture{head[0], std::vector<uint8_t>(size_t{head[0]} * kPageBytes), std::vector<uint8_t>(head[1] ? size_t{head[0]} * kPageBytes : 0)};
    trace.read(reinterpret_cast<char*>(capture.after.data()), static_cast<std::streamsize>(capture.after.size()));
    trace.read(reinterpret_cast<char*>(capture.before.data()), static_cast<std::streamsize>(capture.before.size()));
    if (!trace) throw std::runtime_error("the trace ends in the middle of a capture");
    captures.push_back(std::move(capture));
  }
  return captures;
}

double cpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

/** Of this thread's processor: what else runs on the machine is in neither side's figure. */
template <typename Do>
double secondsOf(Do&& what) {
  const double start = cpuSeconds();
  what();
  return cpuSeconds() - start;
}

size_t encode(const Capture& capture) {
  SectionWriter writer(kMaxPages, false);
  for (size_t i = 0; i < capture.pages; i++) {
    const auto at = [&](const std::vector<uint8_t>& pages, size_t page) { return pages.empty() || page == capture.pages ? nullptr : pages.data() + page * kPageBytes; };
    writer.add(static_cast<PageNumber>(i), at(capture.after, i), at(capture.before, i), {at(capture.after, i + 1), at(capture.before, i + 1)});
  }
  return writer.finish().size();
}

}  // namespace

int main(int count, char** arguments) try {
  if (count != 3) throw std::runtime_error("usage: delta <trace> <rounds>");
  const std::vector<Capture> captures = readTrace(arguments[1]);
  size_t bytes = 0, largest = 0;
  for (const Capture& capture : captures) {
    bytes += capture.after.size();
    largest = std::max(largest, capture.after.size());
  }
  std::vector<uint8_t> to(std::max(ZSTD_compressBound(largest), largest));
  std::string encode_s, copy_s;
  size_t encoded = 0, zstd = 0;
  for (int round = 0; round < std::atoi(arguments[2]); round++) {
    encoded = zstd = 0;
    const double copying = secondsOf([&] { for (const Capture& each : captures) std::memcpy(to.data(), each.after.data(), each.after.size()); });
    const double encoding = secondsOf([&] { for (const Capture& each : captures) encoded += encode(each); });
    for (const Capture& each : captures) zstd += ZSTD_compress(to.data(), to.size(), each.after.data(), each.after.size(), 1);
    encode_s += (round ? "," : "") + std::to_string(encoding);
    copy_s += (round ? "," : "") + std::to_string(copying);
  }
  std::printf("{\"bytes\":%zu,\"encoded_bytes\":%zu,\"zstd1_bytes\":%zu,\"encode_s\":[%s],\"copy_s\":[%s]}\n", bytes, encoded, zstd, encode_s.c_str(), copy_s.c_str());
} catch (const std::exception& error) {
  std::fprintf(stderr, "delta: %s\n", error.what());
  return 1;
}
