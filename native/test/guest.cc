// A process that stands where the hypervisor would: it maps a RAM file, has several threads, and writes when it is told to.
// Commands on stdin, one answer line each: write SEED COUNT | run SEED | stop | set PAGE BYTE | get PAGE | ticks | kicks
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>

static uint8_t* ram;
static size_t pages;
static std::atomic<bool> running{false};
static std::atomic<unsigned long> ticks{0};
static std::atomic<unsigned long> kicks{0};
static thread_local volatile unsigned kickedHere = 0;

static void writeSome(std::mt19937_64& random) {
  const size_t page = random() % pages;
  const auto kind = random() % 8;
  if (kind == 0) {
    std::memset(ram + page * 4096, 0, 4096);
  } else if (kind == 1) {
    for (size_t i = 0; i < 4096; i += 8) {
      const uint64_t word = random();
      std::memcpy(ram + page * 4096 + i, &word, 8);
    }
  } else {
    const uint64_t word = random();
    std::memcpy(ram + page * 4096 + random() % 512 * 8, &word, 8);
  }
}

int main(int count, char** arguments) {
  if (count != 2) return 2;
  const int fd = open(arguments[1], O_RDWR);
  struct stat info {};
  if (fd < 0 || fstat(fd, &info) != 0) return 2;
  pages = static_cast<size_t>(info.st_size) / 4096;
  ram = static_cast<uint8_t*>(mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  if (ram == MAP_FAILED) return 2;
  // Threads like a hypervisor's: one that sleeps in short naps (the first: it is the one that gets traced), one blocked for ever; either may
  // be signalled all the time, like a virtual processor. A nap that fails without a signal of its own was disturbed.
  std::thread([] {
    for (;; ticks++) {
      const unsigned before = kickedHere;
      const timespec nap{0, 1000000};
      if (nanosleep(&nap, nullptr) != 0 && kickedHere == before) _exit(3);
    }
  }).detach();
  std::thread([] {
    std::mutex mutex;
    std::condition_variable never;
    std::unique_lock lock(mutex);
    never.wait(lock, [] { return false; });
  }).detach();
  struct sigaction action {};
  action.sa_flags = SA_RESTART;
  action.sa_handler = [](int) {
    kicks++;
    kickedHere = kickedHere + 1;
  };
  sigaction(SIGUSR1, &action, nullptr);

  std::thread writer;
  char line[256];
  while (std::fgets(line, sizeof line, stdin)) {
    unsigned long a = 0, b = 0;
    if (std::sscanf(line, "write %lu %lu", &a, &b) == 2) {
      std::mt19937_64 random(a);
      for (unsigned long i = 0; i < b; i++) writeSome(random);
      std::puts("ok");
    } else if (std::sscanf(line, "run %lu", &a) == 1) {
      running = true;
      writer = std::thread([a] {
        std::mt19937_64 random(a);
        while (running) for (int i = 0; i < 64; i++) writeSome(random);
      });
      std::puts("ok");
    } else if (std::strncmp(line, "stop", 4) == 0) {
      running = false;
      if (writer.joinable()) writer.join();
      std::puts("ok");
    } else if (std::sscanf(line, "set %lu %lu", &a, &b) == 2) {
      std::memset(ram + a * 4096, static_cast<int>(b), 4096);
      std::puts("ok");
    } else if (std::sscanf(line, "get %lu", &a) == 1) {
      std::printf("%u\n", static_cast<volatile uint8_t*>(ram)[a * 4096]);
    } else if (std::strncmp(line, "ticks", 5) == 0) {
      std::printf("%lu\n", ticks.load());
    } else if (std::strncmp(line, "kicks", 5) == 0) {
      std::printf("%lu\n", kicks.load());
    } else {
      break;
    }
    std::fflush(stdout);
  }
  _exit(0);
}
