// The Xen side without Xen: its stream and device state, the memory of a domain, its requests. Where Xen is, test/xen does the rest.
#include <unistd.h>

#include <map>
#include <memory>
#include <random>

#include "../src/section/replica_image.h"
#include "../src/section/section.h"
#include "../xen/condition.h"
#include "../xen/device_state.h"
#include "../xen/domain_memory.h"
#include "../xen/failures.h"
#include "../xen/grants.h"
#include "../xen/requests.h"
#include "../xen/vif_nodes.h"
#include "check.h"

using namespace virtcft;
using namespace virtcft::xen;

/** A guest that is an array: pages that exist, and a log of what was written. */
class ArrayGuest : public xen::PageSource {
 public:
  ArrayGuest(size_t pages, uint64_t seed) : random(seed), content(pages * kPageBytes), exists(pages, true), written(pages) {}

  void write(PageNumber page) {
    const uint64_t word = random();
    std::memcpy(&content[size_t{page} * kPageBytes + random() % 512 * 8], &word, 8);
    written[page] = true;
  }
  /** A page that goes is lost, one that comes is zero: neither is a write that the log tells of. */
  void balloon(PageNumber page) {
    exists[page] = !exists[page];
    std::memset(&content[size_t{page} * kPageBytes], 0, kPageBytes);
  }
  void present(std::vector<bool>& pages) override { pages = exists; }
  void takeWritten(const std::function<void(PageNumber)>& each) override {
    for (size_t page = 0; page < written.size(); page++) {
      if (written[page]) each(static_cast<PageNumber>(page));
      written[page] = false;
    }
  }
  void read(std::span<const PageNumber> pages, const std::function<void(PageNumber, const uint8_t*)>& each) override {
    for (const PageNumber page : pages) {
      if (failing && page == *failing) throw Failure(xen::code::kXen, "no such luck");
      each(page, exists[page] || page == xens ? &content[size_t{page} * kPageBytes] : nullptr);
    }
  }
  std::vector<PageNumber> foreign() override { return {0}; }

  std::mt19937_64 random;
  std::vector<uint8_t> content;
  std::vector<bool> exists, written;
  std::optional<PageNumber> failing;
  /** A frame with a page of Xen's: no page of the guest's, and can be read. */
  std::optional<PageNumber> xens;
};

static DeviceState someState() {
  DeviceState state;
  state.vcpus = 2;
  state.pages = 1000;
  state.mostMemory_kib = 5000;
  state.paging_bytes = 2 << 20;
  state.uuid[3] = 7;
  state.present = {{0, 100}, {200, 800}};
  stream::begin(state.head, 4, 17);
  stream::record(state.head, RecordType::kCpuidPolicy, Bytes(48, 1));
  stream::record(state.head, RecordType::kStaticDataEnd, {});
  const Gfn gfns[] = {0xfeff8, 0xfeffc};
  stream::pagesHead(state.tail, gfns);
  state.tail.resize(state.tail.size() + 2 * kPageBytes, 9);
  stream::tscInfo(state.tail, {1, 2, 3, 4});
  stream::record(state.tail, RecordType::kHvmContext, Bytes(1001, 5));
  const stream::HvmParam params[] = {{1, 0xfeffc}};
  stream::hvmParams(state.tail, params);
  stream::record(state.tail, RecordType::kEnd, {});
  return state;
}

int main(int count, char** words) {
  const size_t scale = count > 1 ? std::strtoul(words[1], nullptr, 10) : 1;
  std::printf("xen\n");

  test("a page of RAM and its frame are told apart by the hole below 4 GiB", [] {
    const MemoryMap small{1000}, large{limits::kLowPages + 1000};
    CHECK(small.gfnOf(999) == 999 && small.end() == 1000 && !small.pageOf(1000) && *small.pageOf(999) == 999);
    CHECK(large.gfnOf(limits::kLowPages) == limits::kHighFirst && large.end() == limits::kHighFirst + 1000);
    CHECK(!large.pageOf(limits::kLowPages) && !large.pageOf(0xfeffc) && *large.pageOf(limits::kHighFirst + 999) == limits::kLowPages + 999 && !large.pageOf(large.end()));
  });

  test("the stream is the one that Xen documents", [] {
    Bytes bytes;
    stream::begin(bytes, 4, 17);
    CHECK(bytes.size() == stream::kBeginBytes);
    const uint8_t marker[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'X', 'E', 'N', 'F', 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 12, 0, 0, 0, 4, 0, 0, 0, 17, 0, 0, 0};
    CHECK(std::memcmp(bytes.data(), marker, sizeof marker) == 0);
    bytes.clear();
    stream::record(bytes, RecordType::kHvmContext, Bytes{1, 2, 3});
    CHECK((bytes == Bytes{9, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0}));
  });

  test("a device state is read as it was written", [] {
    const DeviceState state = someState(), read = DeviceState::read(state.write());
    CHECK(read.vcpus == 2 && read.pages == 1000 && read.mostMemory_kib == 5000 && read.paging_bytes == 2 << 20 && read.uuid == state.uuid);
    CHECK(read.present == state.present && read.head == state.head && read.tail == state.tail);
    CHECK(rangesOf({true, true, false, true}) == (std::vector<PageRange>{{0, 2}, {3, 1}}));
  });

  test("a device state that is cut short, changed or of another kind is refused and does no harm", [scale] {
    const Bytes good = someState().write();
    for (size_t length = 0; length < good.size(); length += 1 + length / 40) CHECK_FAILS(xen::code::kBadState, DeviceState::read(std::span(good).first(length)));
    std::mt19937_64 random(3);
    for (size_t i = 0; i < 20'000 * scale; i++) {
      const size_t structure = i % 2 ? 160 : good.size();
      const std::unique_ptr<uint8_t[]> exact(new uint8_t[good.size()]);
      std::copy(good.begin(), good.end(), exact.get());
      for (size_t n = 1 + random() % 3; n > 0; n--) exact[random() % structure] ^= static_cast<uint8_t>(1u << random() % 8);
      const std::string code = codeOf([&] { DeviceState::read({exact.get(), good.size()}); });
      CHECK(code == "no failure" || code == xen::code::kBadState);
    }
    DeviceState state = someState();
    stream::record(state.tail, RecordType::kEnd, {});
    CHECK_FAILS(xen::code::kBadState, DeviceState::read(state.write()));
    state = someState();
    state.present = {{200, 800}, {100, 101}};
    CHECK_FAILS(xen::code::kBadState, DeviceState::read(state.write()));
  });

  test("no page of a domain is missed, written, come or gone, and the sections build the same memory elsewhere", [scale] {
    for (uint64_t seed = 1; seed <= 6 * scale; seed++) {
      constexpr size_t kPages = 700;
      ArrayGuest guest(kPages, seed);
      DomainMemory memory(kPages);
      const std::string path = "/tmp/virtcft-xen-test-" + std::to_string(::getpid());
      ::unlink(path.c_str());
      ReplicaImage replica(path, kPages * kPageBytes);
      for (int i = 0; i < 300; i++) guest.write(static_cast<PageNumber>(guest.random() % kPages));
      memory.follow(guest, std::nullopt);
      std::optional<uint64_t> parent;
      for (uint64_t epoch = 1; epoch <= 30; epoch++) {
        for (size_t rounds = guest.random() % 3; rounds > 0; rounds--) {
          for (int i = 0; i < 40; i++) guest.write(static_cast<PageNumber>(guest.random() % kPages));
          if (guest.random() % 4 == 0) {
            guest.failing = static_cast<PageNumber>(guest.random() % kPages);
            try { memory.precopy(); } catch (const Failure&) {}
            guest.failing.reset();
          }
          memory.precopy();
        }
        for (int i = 0; i < 20; i++) guest.write(static_cast<PageNumber>(guest.random() % kPages));
        // Once a page: one that goes and is back within an epoch is seen by nobody (docs/operations/xen.md).
        const size_t first = 1 + guest.random() % (kPages - 3);
        for (size_t i = 0; i < 3; i++) guest.balloon(static_cast<PageNumber>(first + i));
        guest.content[17]++;  // by somebody else than the guest: no log tells of it
        memory.capture(epoch);
        CHECK(memory.compare(epoch).differing == 0);
        CHECK(memory.present() == guest.exists);
        if (epoch % 4 == 1) continue;
        replica.apply(memory.encode(parent, epoch).section);
        parent = epoch;
        CHECK(replica.digest() == memory.digest(epoch));
        if (epoch % 3 == 0) memory.fold(epoch);
      }
      ::unlink(path.c_str());
    }
  });

  test("a compare finds what the log did not tell", [] {
    ArrayGuest guest(100, 1);
    DomainMemory memory(100);
    memory.follow(guest, std::nullopt);
    memory.capture(1);
    guest.write(42);
    guest.written[42] = false;
    memory.capture(2);
    const Compared compared = memory.compare(2);
    CHECK(compared.differing == 1 && compared.first == PageNumber{42});
  });

  test("what is Xen's own at a frame of the guest is no page of its memory, so that a domain that is built anew compares", [] {
    ArrayGuest guest(100, 1);
    guest.xens = 16;
    guest.exists[16] = false;
    DomainMemory memory(100);
    memory.follow(guest, std::nullopt);
    for (uint64_t epoch = 1; epoch <= 2; epoch++) {
      guest.write(16);
      memory.precopy();
      guest.write(16);
      memory.capture(epoch);
      CHECK(memory.compare(epoch).differing == 0);
    }
    ArrayGuest built(100, 1);
    built.exists[16] = false;
    memory.rollback(2);
    memory.follow(built, 2);
    CHECK(memory.compare(2).differing == 0);
    memory.capture(3);
    CHECK(memory.compare(3).differing == 0);
  });

  test("an image that came in sections is what a rollback and a new domain begin with", [] {
    ArrayGuest guest(300, 9);
    for (PageNumber page = 0; page < 300; page += 2) guest.write(page);
    DomainMemory first(300);
    first.follow(guest, std::nullopt);
    first.capture(5);
    DomainMemory second(300);
    second.beginFill(5);
    CHECK_FAILS(virtcft::code::kState, second.digest(5));
    CHECK_FAILS(virtcft::code::kState, second.precopy());
    second.supply(first.encode(std::nullopt, 5).section);
    second.endFill();
    CHECK(second.digest(5) == first.digest(5));
    CHECK_FAILS(virtcft::code::kEpoch, second.rollback(4));
    ArrayGuest same(300, 9);
    same.content = guest.content;
    second.follow(same, 5);
    same.write(7);
    CHECK(second.capture(6).pages == 2);  // 7, and the one that others write
    CHECK(second.compare(6).differing == 0);
    second.rollback(5);
    CHECK(second.digest(5) == first.digest(5));
    CHECK_FAILS(virtcft::code::kEpoch, second.digest(6));
  });

  test("an interface of a restored guest has the nodes that xl would write, each end open to the other only", [] {
    const std::vector<VifNode> nodes = vifNodes(7, checkedVif(1, "52:54:00:88:00:01", "/etc/xen/scripts/cable"));
    std::map<std::string, std::string> values;
    std::map<std::string, std::pair<uint32_t, uint32_t>> folders;
    for (const VifNode& node : nodes) {
      if (node.folder) folders[node.path] = {node.owner, node.reader};
      // A value comes after its folder, whose access it takes.
      else CHECK(folders.contains(node.path.substr(0, node.path.rfind('/'))) && values.emplace(node.path, node.value).second);
    }
    const std::string front = "/local/domain/7/device/vif/1", back = "/local/domain/0/backend/vif/7/1", own = "/libxl/7/device/vif/1";
    CHECK((folders == std::map<std::string, std::pair<uint32_t, uint32_t>>{{front, {7, 0}}, {back, {0, 7}}, {own, {0, 0}}}));
    CHECK(values[front + "/backend"] == back && values[front + "/backend-id"] == "0" && values[front + "/state"] == "1" && values[front + "/mac"] == "52:54:00:88:00:01" && values[front + "/handle"] == "1");
    CHECK(values[back + "/frontend"] == front && values[back + "/frontend-id"] == "7" && values[back + "/state"] == "1" && values[back + "/online"] == "1" && values[back + "/handle"] == "1");
    CHECK(values[back + "/script"] == "/etc/xen/scripts/cable" && values[back + "/type"] == "vif");
    CHECK(values[own + "/backend"] == back && values[own + "/frontend"] == front);
    CHECK_FAILS(virtcft::code::kInvalid, checkedVif(0, "52:54:00:88:00", "/s"));
    CHECK_FAILS(virtcft::code::kInvalid, checkedVif(0, "52:54:00:88:00:0X", "/s"));
    CHECK_FAILS(virtcft::code::kInvalid, checkedVif(0, "52:54:00:88:00:01", "cable"));
    CHECK_FAILS(virtcft::code::kInvalid, checkedVif(0, "52:54:00:88:00:01", "/etc/a b"));
  });

  test("pages that a back end has mapped and may write are found in the grant table, and no others", [] {
    const uint16_t permit = 1, readOnly = 1 << 2, reading = 1 << 3, writing = 1 << 4;
    const GrantEntry table[] = {{0, 0, 9}, {permit, 0, 8}, {static_cast<uint16_t>(permit | reading | writing), 0, 7}, {static_cast<uint16_t>(permit | readOnly | reading), 0, 6},
                                {static_cast<uint16_t>(2 | writing), 0, 5}, {static_cast<uint16_t>(permit | writing), 0, 3}, {static_cast<uint16_t>(permit | writing), 0, 7}};
    CHECK((framesMappedForWriting(table) == std::vector<uint64_t>{3, 7}));
    CHECK(framesMappedForWriting({}).empty());
  });

  test("how a domain ended is told as libxenctrl tells it: of a crash it says that it is no shutdown", [] {
    CHECK(conditionOf({false, false, false, 0}) == Condition::kRunning);
    CHECK(conditionOf({false, false, true, 0}) == Condition::kOff);
    CHECK(conditionOf({false, false, true, 1}) == Condition::kRebooting);
    CHECK(conditionOf({false, false, true, 2}) == Condition::kSuspended);
    CHECK(conditionOf({false, true, false, 3}) == Condition::kCrashed);
    CHECK(conditionOf({false, false, true, 4}) == Condition::kCrashed);
    CHECK(conditionOf({true, false, true, 2}) == Condition::kGone);
  });

  test("requests come in any pieces; what no client sends is refused", [] {
    const auto read = [](const std::string& text, size_t piece) {
      int ends[2];
      CHECK(::pipe(ends) == 0);
      CHECK(::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
      ::close(ends[1]);
      RequestReader reader(ends[0], piece);
      std::vector<Request> requests;
      std::string code = codeOf([&] { while (auto request = reader.next()) requests.push_back(*request); });
      ::close(ends[0]);
      return std::pair(requests, code);
    };
    for (const size_t piece : {1, 3, 1000}) {
      const auto [requests, code] = read("capture 7\nbuild web 3 +5\nab\nde" "state\nbuild web 3 +5\nab", piece);
      CHECK(code == "no failure" && requests.size() == 3);
      CHECK((requests[0].words == std::vector<std::string>{"capture", "7"}) && requests[0].payload.empty());
      CHECK(requests[1].words.size() == 3 && std::string(requests[1].payload.begin(), requests[1].payload.end()) == "ab\nde");
      CHECK(requests[2].words == std::vector<std::string>{"state"});
    }
    CHECK(read("\n", 9).second == virtcft::code::kInvalid);
    CHECK(read("supply +99999999999\n", 9).second == virtcft::code::kInvalid);
    CHECK(read("supply +x\n", 9).second == virtcft::code::kInvalid);
    CHECK(read(std::string(5000, 'x'), 100).second == virtcft::code::kInvalid);
    CHECK(wholeNumber("15") == 15);
    CHECK_FAILS(virtcft::code::kInvalid, wholeNumber("-1"));
  });
  return 0;
}
