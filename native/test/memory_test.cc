// Guest memory against a simple model, with a real process and the trackers this kernel has.

#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../src/memory/guest_memory.h"
#include "../src/memory/injection.h"
#include "../src/section/replica_image.h"
#include "../src/section/sha256.h"
#include "guest_process.h"

using namespace virtcft;

using Snapshot = std::vector<uint8_t>;

static Snapshot snapshot(const RamFile& ram) { return {ram.page(0), ram.page(0) + ram.bytes()}; }

static std::string digestOf(const Snapshot& bytes) {
  Sha256 hash;
  hash.update(bytes.data(), bytes.size());
  return hash.finish();
}

/** Bytes of this process that hold something and that a core dump would have. */
static size_t dumpable() {
  std::ifstream maps("/proc/self/smaps");
  size_t sum = 0, resident = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.rfind("Rss:", 0) == 0) resident = std::stoul(line.substr(4)) * 1024;
    if (line.rfind("VmFlags:", 0) == 0 && line.find(" dd") == std::string::npos) sum += resident;
  }
  return sum;
}

static void kindName(TrackerKind kind, uint64_t seed) { std::printf("    %s, seed %lu\n", nameOf(kind), static_cast<unsigned long>(seed)), std::fflush(stdout); }

/**
 * Random sequences of write, pre-copy, capture, store, commit, abort and rollback. The model: the whole memory at every captured epoch.
 * A replica takes each stored segment; segments that are not stored are merged into the next (R2a).
 */
static void property(TrackerKind kind, uint64_t seed, int steps) {
  kindName(kind, seed);
  std::mt19937_64 random(seed);
  constexpr size_t kPages = 600;
  RamFile ram(kPages);
  auto guest = std::make_unique<Guest>(ram);
  guest->ask("write " + std::to_string(random()) + " 50");  // before anybody looks
  GuestMemory memory(ram.path(), ram.bytes());
  memory.attach(guest->pid(), kind, false);
  char name[] = "/tmp/virtcft-replica-XXXXXX";
  close(mkstemp(name));
  ReplicaImage replica(name, ram.bytes());
  std::map<uint64_t, Snapshot> captured;
  uint64_t epoch = 0, base = 0;
  std::optional<uint64_t> stored;
  bool running = false;
  for (int step = 0; step < steps; step++) {
    const auto action = random() % 12;
    if (action < 3) {
      if (!running) guest->ask("write " + std::to_string(random()) + " " + std::to_string(random() % 80));
    } else if (action == 3) {
      if (!running) guest->ask("run " + std::to_string(random()));
      running = true;
    } else if (action == 4) {
      memory.precopy();
    } else if (action < 8) {
      guest->ask("stop");
      running = false;
      epoch += 1 + random() % 2;
      memory.capture(epoch);
      const Verified verified = memory.verify(epoch);
      CHECK(verified.differing == 0 && !verified.first);
      captured[epoch] = snapshot(ram);
    } else if (action == 8 && !captured.empty() && epoch > base && stored != epoch && captured.count(epoch)) {
      const Encoded encoded = memory.encode(stored, epoch);
      replica.apply(encoded.section);
      CHECK(replica.digest() == digestOf(captured[epoch]));
      CHECK(encoded.counts.referred == 0 && encoded.sources.empty());
      stored = epoch;
    } else if (action == 9 && stored && *stored > base) {
      memory.fold(*stored);
      base = *stored;
      CHECK(memory.stats().held.layers == static_cast<size_t>(std::distance(captured.upper_bound(base), captured.end())));
    } else if (action == 10 && stored && *stored >= base && captured.count(*stored) && step % 3 == 0) {
      guest->ask("stop");
      running = false;
      if (random() % 2) {  // the process dies first
        if (random() % 2) memory.detach();
        guest->end();
        memory.rollback(*stored);
        memory.detach();
        CHECK(snapshot(ram) == captured[*stored]);
        guest = std::make_unique<Guest>(ram);
        guest->ask("write " + std::to_string(random()) + " 5");
        memory.attach(guest->pid(), kind, false);
      } else {
        const RolledBack rolled = memory.rollback(*stored);
        CHECK(rolled.scanned == (kind != TrackerKind::kCompare));
        CHECK(snapshot(ram) == captured[*stored]);
      }
      captured.erase(captured.upper_bound(*stored), captured.end());
    } else if (action == 11 && captured.count(epoch)) {
      CHECK(memory.digest(epoch) == digestOf(captured[epoch]));
    }
  }
  CHECK(captured.size() > 3);
  unlink(name);
}

static void randomWriters(int epochs) {
  RamFile ram(8192);
  Guest guest(ram);
  GuestMemory memory(ram.path(), ram.bytes());
  memory.attach(guest.pid(), TrackerKind::kPagemapScan, false);
  size_t pages = 0;
  for (int epoch = 1; epoch <= epochs; epoch++) {
    guest.ask("run " + std::to_string(epoch));
    usleep(1000);
    if (epoch % 2) memory.precopy();
    usleep(500);
    guest.ask("stop");
    pages += memory.capture(static_cast<uint64_t>(epoch)).pages;
    CHECK(memory.verify(static_cast<uint64_t>(epoch)).differing == 0);
    if (epoch > 2) memory.fold(static_cast<uint64_t>(epoch - 2));
  }
  std::printf("    %d epochs, %zu pages, none missed\n", epochs, pages);
  CHECK(pages > 0);
}

int main(int count, char** arguments) {
  const int scale = count > 1 ? std::atoi(arguments[1]) : 1;
  const TrackerProbe probe = probeTracker();
  std::printf("memory (best tracker here: %s)\n", nameOf(probe.best));
  std::vector<TrackerKind> kinds{TrackerKind::kCompare};
  if (probe.softDirty) kinds.push_back(TrackerKind::kSoftDirty);
  if (probe.pagemapScan) kinds.push_back(TrackerKind::kPagemapScan);

  test("random sequences agree with the model", [&] {
    for (const TrackerKind kind : kinds) {
      for (uint64_t seed = 1; seed <= static_cast<uint64_t>(6 * scale); seed++) property(kind, seed, 150);
    }
  });

  test("guest memory, base and layers are in no core dump", [] {
    RamFile ram(1024);
    Guest guest(ram);
    guest.ask("write 1 900");
    const size_t before = dumpable();
    GuestMemory memory(ram.path(), ram.bytes());
    memory.attach(guest.pid(), TrackerKind::kCompare, false);
    memory.capture(1);
    memory.fold(1);
    guest.ask("write 2 900");
    memory.capture(2);
    // Tables and the heap grow a little; each of the three would be megabytes.
    CHECK(dumpable() < before + (1 << 20));
  });

  test("a call that cannot be is refused by its code", [] {
    RamFile ram(16);
    Guest guest(ram);
    GuestMemory memory(ram.path(), ram.bytes());
    CHECK_FAILS("ESTATE", memory.capture(1));
    CHECK_FAILS("EPROCESS", memory.attach(1 << 22, TrackerKind::kCompare, false));
    CHECK_FAILS("EPROCESS", memory.attach(getppid(), TrackerKind::kCompare, false));
    CHECK_FAILS("ESTATE", memory.attach(guest.pid(), TrackerKind::kPagemapScan, true));
    memory.attach(guest.pid(), TrackerKind::kCompare, false);
    CHECK_FAILS("ESTATE", memory.attach(guest.pid(), TrackerKind::kCompare, false));
    CHECK_FAILS("ESTATE", memory.beginFill(3));
    memory.capture(5);
    CHECK_FAILS("EEPOCH", memory.capture(5));
    CHECK_FAILS("EEPOCH", memory.encode(std::nullopt, 4));
    CHECK_FAILS("EEPOCH", memory.encode(6, 5));
    CHECK_FAILS("EEPOCH", memory.rollback(6));
    CHECK_FAILS("EEPOCH", memory.fold(6));
    memory.fold(5);
    CHECK_FAILS("EEPOCH", memory.encode(0, 5));
    CHECK_FAILS("EINVAL", GuestMemory(ram.path(), 17 * kPageBytes));
    CHECK_FAILS("EIO", GuestMemory("/nowhere", kPageBytes));
  });

  test("the death of the process is said, not taken for a quiet guest", [&] {
    for (const TrackerKind kind : kinds) {
      RamFile ram(64);
      Guest guest(ram);
      GuestMemory memory(ram.path(), ram.bytes());
      memory.attach(guest.pid(), kind, false);
      guest.ask("set 3 7");
      memory.capture(1);
      guest.ask("set 4 8");
      guest.end();
      CHECK_FAILS("EPROCESS", memory.capture(2));
      const RolledBack rolled = memory.rollback(1);
      CHECK(!rolled.scanned && rolled.pages == 1);
      CHECK(isZeroPage(ram.page(4)) && ram.page(3)[0] == 7);
    }
  });

  test("a sparse file stays sparse", [] {
    RamFile ram(4096);
    Guest guest(ram);
    guest.ask("set 9 1");
    GuestMemory memory(ram.path(), ram.bytes());
    memory.attach(guest.pid(), TrackerKind::kCompare, false);
    CHECK(memory.capture(1).pages == 1);
    CHECK(memory.verify(1).differing == 0);
    memory.detach();
    memory.rollback(1);
    CHECK(ram.heldPages() < 16);
    CHECK(memory.stats().held.base_bytes == 0 && memory.stats().held.layers == 1);
  });

  if (probe.pagemapScan) {
    test("injected calls leave the process as it was", [] {
      RamFile ram(16);
      Guest guest(ram);
      const unsigned long before = std::stoul(guest.ask("ticks"));
      const unsigned long kicked = std::stoul(guest.ask("kicks"));
      constexpr unsigned kTimes = 300;
      for (unsigned i = 0; i < kTimes; i++) {
        CHECK(callInside(guest.pid(), 39 /* getpid */) == guest.pid());
        kill(guest.pid(), SIGUSR1);
        CHECK(callInside(guest.pid(), 3 /* close */, -1) == -EBADF);
        for (int wait = 0; std::stoul(guest.ask("kicks")) < kicked + i + 1; wait++) {
          CHECK(wait < 2000);
          usleep(500);
        }
      }
      CHECK(std::stoul(guest.ask("ticks")) > before);
    });

    test("no page is missed under random writers", [&] { randomWriters(60 * scale); });

    test("an earlier agent's tracker is taken again", [] {
      RamFile ram(64);
      Guest guest(ram);
      for (int agent = 0; agent < 3; agent++) {
        GuestMemory memory(ram.path(), ram.bytes());
        memory.attach(guest.pid(), TrackerKind::kPagemapScan, false);
        memory.capture(1);
        guest.ask("set 5 " + std::to_string(agent + 1));
        CHECK(memory.capture(2).pages == 1);
        if (agent == 1) memory.detach();
      }
      size_t userfaults = 0;
      for (int fd = 0; fd < 64; fd++) {
        char target[64] = {};
        const std::string link = "/proc/" + std::to_string(guest.pid()) + "/fd/" + std::to_string(fd);
        if (readlink(link.c_str(), target, 63) > 0) userfaults += std::string(target) == "anon_inode:[userfaultfd]";
      }
      CHECK(userfaults == 1);
    });

    test("after a rollback only what the next process touched is looked at, and nothing is missed", [] {
      RamFile ram(2048);
      auto guest = std::make_unique<Guest>(ram);
      GuestMemory memory(ram.path(), ram.bytes());
      memory.attach(guest->pid(), TrackerKind::kPagemapScan, false);
      guest->ask("write 1 3000");
      memory.capture(1);
      const Snapshot cut = snapshot(ram);
      guest->ask("write 2 500");
      CHECK(memory.rollback(1).scanned);
      guest->end();
      memory.detach();
      CHECK(snapshot(ram) == cut);
      guest = std::make_unique<Guest>(ram);
      guest->ask("set 77 1");
      memory.rollback(1);
      guest->ask("set 78 2");
      memory.attach(guest->pid(), TrackerKind::kPagemapScan, false);
      guest->ask("set 79 3");
      memory.capture(2);
      CHECK(memory.verify(2).differing == 0);
      CHECK(memory.encode(1, 2).counts.pages() == 2);
    });
  }
  return 0;
}
