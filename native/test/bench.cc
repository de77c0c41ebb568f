// What the pause costs: scan and copy of a number of dirty pages, by memory size. Prints medians; asserts nothing about time.
#include <algorithm>
#include <chrono>
#include <vector>

#include "../src/memory/guest_memory.h"
#include "guest_process.h"

using namespace virtcft;

static double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int main(int count, char** arguments) {
  const size_t dirty = count > 1 ? static_cast<size_t>(std::atoi(arguments[1])) : 400;
  for (const size_t mebibytes : {128, 512, 1024}) {
    RamFile ram(mebibytes * 256);
    std::memset(ram.page(0), 1, ram.bytes());
    Guest guest(ram);
    GuestMemory memory(ram.path(), ram.bytes());
    const auto start = std::chrono::steady_clock::now();
    memory.attach(guest.pid(), TrackerKind::kPagemapScan, false);
    const double attach_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    memory.capture(1);
    memory.fold(1);
    std::vector<double> scan, copy, total, encode;
    for (uint64_t epoch = 2; epoch < 102; epoch++) {
      guest.ask("write " + std::to_string(epoch) + " " + std::to_string(dirty));
      const auto before = std::chrono::steady_clock::now();
      const Captured captured = memory.capture(epoch);
      total.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before).count());
      scan.push_back(static_cast<double>(captured.scan_us) / 1000);
      copy.push_back(static_cast<double>(captured.copy_us) / 1000);
      encode.push_back(static_cast<double>(memory.encode(epoch - 1, epoch).encode_us) / 1000);
      memory.fold(epoch);
      memory.warm();
    }
    std::printf("%5zu MiB, %zu pages: capture %.2f ms (scan %.2f, copy %.2f), encode %.2f ms, attach %.0f ms\n", mebibytes, dirty, median(total), median(scan),
                median(copy), median(encode), attach_ms);
  }
  return 0;
}
