// Encodes what a trace of captures holds (libs/lab/src/bench/delta-trace.ts), and does with the same pages what others would: a plain copy, and zstd at
// level 1 of all of a section's pages. In turns, so that what drifts hits all alike. Usage: delta <trace> <rounds>. Prints one JSON object.
#include <zstd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../src/section/page_catalog.h"

using namespace virtcft;

namespace {

struct Capture {
  size_t pages;
  uint32_t cut, host;
  std::vector<uint8_t> after, before;
};

std::vector<Capture> readTrace(const char* path) {
  std::ifstream trace(path, std::ios::binary);
  if (!trace) throw std::runtime_error(std::string("cannot open ") + path);
  std::vector<Capture> captures;
  uint32_t head[4];
  while (trace.read(reinterpret_cast<char*>(head), sizeof head)) {
    Capture capture{head[0], head[2], head[3], std::vector<uint8_t>(size_t{head[0]} * kPageBytes), std::vector<uint8_t>(head[1] ? size_t{head[0]} * kPageBytes : 0)};
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

/** Of blocks of a disk, which refer to nothing. */
constexpr uint32_t kNoHost = 0xffffffff;

std::vector<uint8_t> encode(const Capture& capture, const PageCatalog* catalog) {
  SectionWriter writer(kMaxPages, false, catalog);
  for (size_t i = 0; i < capture.pages; i++) {
    const auto at = [&](const std::vector<uint8_t>& pages, size_t page) { return pages.empty() || page == capture.pages ? nullptr : pages.data() + page * kPageBytes; };
    writer.add(static_cast<PageNumber>(i), at(capture.after, i), at(capture.before, i), {at(capture.after, i + 1), at(capture.before, i + 1)});
  }
  return writer.finish();
}

struct Encoded {
  std::vector<std::vector<uint8_t>> sections;
  double seconds = 0;
};

/**
 * All captures in their order, with a catalog for each host as its agent has one: it knows what was stored by the cut before, which is not in the time that
 * is measured. `stored`: the sections of an earlier turn, which are the same; empty in the first one.
 */
Encoded encodeAll(const std::vector<Capture>& captures, const std::vector<std::vector<uint8_t>>& stored) {
  std::map<uint32_t, PageCatalog> catalogs;
  Encoded encoded;
  size_t known = 0;
  for (size_t at = 0; at < captures.size(); at++) {
    const Capture& each = captures[at];
    for (; captures[known].cut != each.cut; known++) {
      if (captures[known].host == kNoHost) continue;
      SegmentName name{};
      std::memcpy(name.data(), &known, sizeof known);
      catalogs[captures[known].host].add(name, stored.empty() ? encoded.sections[known] : stored[known]);
    }
    std::vector<uint8_t> section;
    const PageCatalog* const catalog = each.host == kNoHost ? nullptr : &catalogs[each.host];
    encoded.seconds += secondsOf([&] { section = encode(each, catalog); });
    if (stored.empty()) encoded.sections.push_back(std::move(section));
  }
  return encoded;
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
  const std::vector<std::vector<uint8_t>> stored = encodeAll(captures, {}).sections;
  size_t encoded = 0, references = 0, zstd = 0;
  for (const auto& section : stored) {
    encoded += section.size();
    references += SectionReader(section).counts().referred;
  }
  for (int round = 0; round < std::atoi(arguments[2]); round++) {
    zstd = 0;
    const double copying = secondsOf([&] { for (const Capture& each : captures) std::memcpy(to.data(), each.after.data(), each.after.size()); });
    const double encoding = encodeAll(captures, stored).seconds;
    for (const Capture& each : captures) zstd += ZSTD_compress(to.data(), to.size(), each.after.data(), each.after.size(), 1);
    encode_s += (round ? "," : "") + std::to_string(encoding);
    copy_s += (round ? "," : "") + std::to_string(copying);
  }
  std::printf("{\"bytes\":%zu,\"encoded_bytes\":%zu,\"references\":%zu,\"zstd1_bytes\":%zu,\"encode_s\":[%s],\"copy_s\":[%s]}\n", bytes, encoded, references, zstd, encode_s.c_str(), copy_s.c_str());
} catch (const std::exception& error) {
  std::fprintf(stderr, "delta: %s\n", error.what());
  return 1;
}
