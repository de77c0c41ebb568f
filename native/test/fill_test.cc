// The lazy fill: pages come on demand, the guest never reads a zero that is not one, the tracker goes on after it.

#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "../src/memory/guest_memory.h"
#include "../src/section/section.h"
#include "guest_process.h"

using namespace virtcft;

constexpr size_t kPages = 1500;

/** Page n of the cut; every seventh is zero. */
static uint8_t byteOf(size_t page) { return page % 7 == 0 ? 0 : static_cast<uint8_t>(1 + page % 250); }

static std::vector<uint8_t> sectionOf(size_t first, size_t count, size_t step = 1) {
  SectionWriter writer(kPages, false);
  for (size_t page = first; page < kPages && count > 0; page += step, count--) {
    uint8_t content[kPageBytes];
    std::memset(content, byteOf(page), sizeof content);
    const auto number = static_cast<PageNumber>(page);
    byteOf(page) ? writer.addRaw(number, content) : writer.addZero(number);
  }
  return writer.finish();
}

static void untilDone(const GuestMemory& memory) {
  for (int wait = 0; !memory.fillStats().done; wait++) {
    CHECK(wait < 20000);
    usleep(500);
  }
}

static void checkAll(Guest& guest) {
  for (size_t page = 0; page < kPages; page++) CHECK(guest.ask("get " + std::to_string(page)) == std::to_string(byteOf(page)));
}

int main() {
  if (!probeTracker().lazyFill) {
    std::printf("fill: this kernel cannot (see probeTracker), nothing to test\n");
    return 0;
  }
  std::printf("fill\n");

  test("pages are served on demand, the rest is fetched ahead, the tracker goes on", [] {
    RamFile ram(kPages);
    Guest guest(ram);
    guest.ask("set 11 99");  // the start of the process writes: must not be taken for the cut's content
    GuestMemory memory(ram.path(), ram.bytes());
    memory.beginFill(40);
    std::mutex mutex;
    std::set<PageNumber> wanted;
    memory.onWanted([&](const std::vector<PageNumber>& pages) {
      std::lock_guard lock(mutex);
      for (const PageNumber page : pages) CHECK(wanted.insert(page).second);
    });
    CHECK_FAILS("ESTATE", memory.attach(guest.pid(), TrackerKind::kPagemapScan, false));
    memory.attach(guest.pid(), TrackerKind::kPagemapScan, true);
    guest.send("get 11");
    CHECK(guest.answer(150).empty());  // waits: neither its own 99 nor zero
    {
      std::lock_guard lock(mutex);
      CHECK(wanted == std::set<PageNumber>{11});
    }
    memory.supply(sectionOf(0, 10));
    CHECK(guest.answer(100).empty());
    CHECK(memory.supply(sectionOf(10, 3)) == 3);
    CHECK(guest.answer(20000) == std::to_string(byteOf(11)));
    CHECK(memory.supply(sectionOf(11, 1)) == 0);  // a second source brings it again
    // Captures in the middle of the fill: only what the guest wrote, no page is touched for it.
    guest.ask("set 12 200");
    CHECK(memory.capture(41).pages == 1);
    CHECK(memory.verify(41).differing == 0);
    const Encoded encoded = memory.encode(40, 41);
    CHECK(encoded.counts.pages() == 1 && encoded.counts.raw == 1);  // raw while the base is incomplete
    CHECK_FAILS("ESTATE", memory.encode(std::nullopt, 41));
    CHECK_FAILS("ESTATE", memory.digest(41));
    memory.fold(41);
    CHECK(!memory.fillStats().done && memory.fillStats().present == 13);
    // Out of order, from behind, while the guest asks for pages.
    guest.send("get 1400");
    memory.supply(sectionOf(1, kPages, 2));
    memory.supply(sectionOf(700, 800));
    CHECK(guest.answer(20000) == std::to_string(byteOf(1400)));
    memory.supply(sectionOf(0, kPages));
    untilDone(memory);
    const FillStats stats = memory.fillStats();
    CHECK(stats.present == kPages && stats.faults > 0 && stats.prefetched > 0);
    CHECK(guest.ask("get 12") == "200");
    CHECK(memory.capture(42).pages == 0);
    CHECK(memory.verify(42).differing == 0);
    guest.ask("set 12 " + std::to_string(byteOf(12)));
    checkAll(guest);
    guest.ask("run 7");
    for (uint64_t epoch = 43; epoch < 60; epoch++) {
      usleep(500);
      memory.precopy();
      guest.ask("stop");
      memory.capture(epoch);
      CHECK(memory.verify(epoch).differing == 0);
      guest.ask("run " + std::to_string(epoch));
    }
    guest.ask("stop");
  });

  test("writers run through the whole fill and no page is lost", [] {
    // A busy machine may leave a writer no turn before its stop: that all five had none would be no test.
    size_t written = 0;
    for (uint64_t seed = 0; seed < 5; seed++) {
      RamFile ram(kPages);
      Guest guest(ram);
      GuestMemory memory(ram.path(), ram.bytes());
      memory.beginFill(1);
      memory.attach(guest.pid(), TrackerKind::kPagemapScan, true);
      guest.ask("run " + std::to_string(seed));
      uint64_t epoch = 1;
      for (size_t first = 0; first < kPages; first += 100) {
        memory.supply(sectionOf(first, 100));
        memory.precopy();
      }
      untilDone(memory);
      guest.ask("stop");
      memory.capture(++epoch);
      CHECK(memory.verify(epoch).differing == 0);
      written += memory.encode(1, epoch).counts.pages();
    }
    CHECK(written > 0);
  });

  test("what a process wrote before its attach is never taken for the cut's, however soon the cut's pages come", [] {
    size_t supplied = 0;
    for (int round = 0; round < 20; round++) {
      RamFile ram(kPages);
      Guest guest(ram);
      for (size_t page = 0; page < kPages; page++) std::memset(ram.page(page), 251, kPageBytes);
      GuestMemory memory(ram.path(), ram.bytes());
      memory.beginFill(1);
      // The stream of a restore does not wait for the hypervisor to start.
      std::thread source([&memory, &supplied] {
        for (size_t first = 0; first < kPages; first += 10) supplied += memory.supply(sectionOf(first, 10));
      });
      memory.attach(guest.pid(), TrackerKind::kPagemapScan, true);
      source.join();
      untilDone(memory);
      memory.capture(2);
      CHECK(memory.verify(2).differing == 0);
      checkAll(guest);
    }
    CHECK(supplied == 20 * kPages);
  });

  test("what the source does not send is zero in the end", [] {
    RamFile ram(kPages);
    Guest guest(ram);
    GuestMemory memory(ram.path(), ram.bytes());
    memory.beginFill(3);
    memory.attach(guest.pid(), TrackerKind::kPagemapScan, true);
    memory.supply(sectionOf(100, 50));
    guest.send("get 1200");
    CHECK(guest.answer(100).empty());
    CHECK(memory.supplyRestAsZero() == kPages - 50);
    CHECK(guest.answer(20000) == "0");
    untilDone(memory);
    CHECK(guest.ask("get 120") == std::to_string(byteOf(120)));
  });

  test("when the agent dies in the middle, the guest blocks and never reads zero", [] {
    RamFile ram(kPages);
    Guest guest(ram);
    const pid_t agent = fork();
    CHECK(agent >= 0);
    if (agent == 0) {
      GuestMemory memory(ram.path(), ram.bytes());
      memory.beginFill(3);
      memory.attach(guest.pid(), TrackerKind::kPagemapScan, true);
      memory.supply(sectionOf(0, 50));
      kill(getpid(), SIGKILL);
    }
    CHECK(waitpid(agent, nullptr, 0) == agent);
    guest.send("get 1000");
    CHECK(guest.answer(500).empty());
  });

  test("after a detach in the middle the guest blocks, and another fills the same file to the end", [] {
    RamFile ram(kPages);
    GuestMemory memory(ram.path(), ram.bytes());
    memory.beginFill(3);
    {
      Guest guest(ram);
      memory.attach(guest.pid(), TrackerKind::kPagemapScan, true);
      memory.supply(sectionOf(0, 200));
      CHECK(guest.ask("get 150") == std::to_string(byteOf(150)));
      guest.ask("set 150 251");
      guest.ask("set 13 252");
      memory.capture(4);
      guest.ask("set 14 253");
      const RolledBack rolled = memory.rollback(3);
      CHECK(rolled.scanned && rolled.pages == 3);
      CHECK(memory.capture(4).pages == 0);  // goes on in the same process
      guest.ask("set 15 254");
      memory.detach();
      guest.send("get 1000");
      CHECK(guest.answer(200).empty());
    }
    CHECK(memory.rollback(3).pages == 1);  // by comparing: it was detached when it wrote
    {
      Guest guest(ram);
      guest.ask("set 16 255");
      guest.ask("set 900 255");
      memory.attach(guest.pid(), TrackerKind::kPagemapScan, true);
      memory.supply(sectionOf(0, kPages));
      untilDone(memory);
      checkAll(guest);
      memory.capture(5);
      CHECK(memory.verify(5).differing == 0 && memory.encode(3, 5).counts.pages() == 0);
      memory.detach();  // everything is there: the process may go on
      checkAll(guest);
    }
  });

  test("layers that a rollback keeps are served to the next process", [] {
    RamFile ram(kPages);
    GuestMemory memory(ram.path(), ram.bytes());
    memory.beginFill(3);
    memory.supply(sectionOf(0, 200));
    {
      Guest guest(ram);
      memory.attach(guest.pid(), TrackerKind::kPagemapScan, true);
      guest.ask("set 50 77");
      memory.capture(4);
      guest.ask("set 50 78");
      memory.rollback(4);
      memory.detach();
    }
    Guest guest(ram);
    guest.ask("set 50 1");
    memory.attach(guest.pid(), TrackerKind::kPagemapScan, true);
    CHECK(guest.ask("get 50") == "77");
    memory.supply(sectionOf(0, kPages));
    untilDone(memory);
    CHECK(memory.capture(5).pages == 0 && memory.verify(5).differing == 0);
  });

  test("with every page supplied, a rollback fills the file itself: the way to load where there is no userfaultfd", [] {
    RamFile ram(kPages);
    GuestMemory memory(ram.path(), ram.bytes());
    memory.beginFill(3);
    memory.supply(sectionOf(0, kPages));
    CHECK(!memory.fillStats().done);
    CHECK(memory.rollback(3).pages == kPages - (kPages + 6) / 7);
    CHECK(memory.fillStats().done);
    Guest guest(ram);
    memory.attach(guest.pid(), TrackerKind::kCompare, false);
    checkAll(guest);
    CHECK(memory.capture(4).pages == 0);
  });

  test("a section that does not fit is refused whole", [] {
    RamFile ram(kPages);
    GuestMemory memory(ram.path(), ram.bytes());
    memory.beginFill(3);
    std::vector<uint8_t> damaged = sectionOf(0, 200);
    damaged.back() ^= 1;
    CHECK_FAILS("EBADSECTION", memory.supply(damaged));
    uint8_t content[kPageBytes] = {1};
    SectionWriter delta(kPages, false);
    delta.add(1, content, kZeroPage);
    CHECK_FAILS("EBADSECTION", memory.supply(delta.finish()));
    SectionWriter other(kPages + 1, false);
    other.addRaw(1, content);
    CHECK_FAILS("EBADSECTION", memory.supply(other.finish()));
    CHECK(memory.fillStats().present == 0);
  });
  return 0;
}
