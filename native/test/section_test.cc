// Page sections: the writer and the reader agree, damage is refused, hostile bytes do no harm; checksums and digests match known values.
#include <unistd.h>

#include <array>
#include <fstream>
#include <iterator>
#include <map>
#include <random>

#include "../src/section/crc32c.h"
#include "../src/section/page_code.h"
#include "../src/section/patch.h"
#include "../src/section/replica_image.h"
#include "../src/section/section.h"
#include "../src/section/sha256.h"
#include "check.h"

using namespace virtcft;

using Page = std::vector<uint8_t>;

static Page randomPage(std::mt19937_64& random, bool dense) {
  Page page(kPageBytes);
  for (size_t i = 0; i < kPageBytes; i += 8) {
    if (!dense && random() % 50 != 0) continue;
    const uint64_t word = random();
    std::memcpy(page.data() + i, &word, 8);
  }
  page[0] |= 1;
  return page;
}

struct Written {
  std::vector<uint8_t> bytes;
  std::map<PageNumber, std::pair<PageKind, Page>> pages;
};

static Written randomSection(std::mt19937_64& random, size_t memoryPages, bool full, size_t most) {
  SectionWriter writer(memoryPages, full);
  Written written;
  const Page zero(kPageBytes);
  for (size_t page = random() % 5; page < memoryPages && written.pages.size() < most; page += 1 + random() % 7) {
    const auto number = static_cast<PageNumber>(page);
    const PageKind kind = full ? PageKind::kRaw : std::array{PageKind::kZero, PageKind::kRaw, PageKind::kXor}[random() % 3];
    const Page content = randomPage(random, kind != PageKind::kXor && random() % 2);
    if (kind == PageKind::kZero) writer.addZero(number);
    if (kind == PageKind::kRaw) writer.addRaw(number, content.data());
    if (kind == PageKind::kXor) writer.add(number, content.data(), zero.data());
    written.pages[number] = {kind, kind == PageKind::kZero ? zero : content};
  }
  written.bytes = writer.finish();
  return written;
}

/** What the page is where its parent is all zeros. */
static Page inFull(PageKind kind, const uint8_t* content) {
  Page page(kPageBytes);
  if (kind == PageKind::kPatch) patch::apply(content, page.data());
  else if (content) std::memcpy(page.data(), content, kPageBytes);
  return page;
}

static void checkEqual(const Written& written, const SectionReader& reader) {
  size_t seen = 0;
  auto expected = written.pages.begin();
  reader.each([&](PageNumber page, PageKind kind, const uint8_t* content) {
    CHECK(expected != written.pages.end());
    CHECK(page == expected->first && kind == expected->second.first);
    CHECK(samePage(inFull(kind, content).data(), expected->second.second.data()));
    ++expected;
    seen++;
  });
  CHECK(seen == written.pages.size());
}

/** The checksums are put right after a change, so that the checks behind them are reached. */
static void mendChecksums(std::vector<uint8_t>& bytes) {
  if (bytes.size() < section::kHeaderBytes) return;
  uint32_t pages, blocks;
  std::memcpy(&pages, &bytes[12], 4);
  std::memcpy(&blocks, &bytes[16], 4);
  const uint64_t tables = 4ull * pages + 28ull * blocks;
  if (section::kHeaderBytes + tables <= bytes.size()) {
    uint8_t* block = bytes.data() + section::kHeaderBytes + 4ull * pages;
    uint8_t* payload = bytes.data() + section::kHeaderBytes + tables;
    for (uint32_t i = 0; i < blocks; i++, block += 28) {
      uint32_t codes, dense, plain;
      std::memcpy(&codes, block + 4, 4);
      std::memcpy(&dense, block + 12, 4);
      std::memcpy(&plain, block + 20, 4);
      const uint64_t length = uint64_t{codes} + dense + plain;
      if (length > static_cast<uint64_t>(bytes.data() + bytes.size() - payload)) break;
      const uint32_t crc = crc32c(payload, static_cast<size_t>(length));
      std::memcpy(block + 24, &crc, 4);
      payload += length;
    }
    const uint32_t crc = crc32c(bytes.data() + section::kHeaderBytes, static_cast<size_t>(tables));
    std::memcpy(&bytes[20], &crc, 4);
  }
  const uint32_t crc = crc32c(bytes.data(), 36);
  std::memcpy(&bytes[36], &crc, 4);
}

static bool accepted(const std::vector<uint8_t>& bytes) {
  // A copy of exactly this length, so that a read beyond it is seen by the sanitizer.
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  const std::string code = codeOf([&] { SectionReader({exact.get(), bytes.size()}).check(); });
  CHECK(code == "no failure" || code == "EBADSECTION");
  return code == "no failure";
}

int main() {
  std::printf("section\n");
  test("CRC-32C and SHA-256 give the published values, in both forms", [] {
    CHECK(crc32c("123456789", 9) == 0xe3069283);
    CHECK(crc32cPortable("123456789", 9) == 0xe3069283);
    std::mt19937_64 random(1);
    for (int i = 0; i < 200; i++) {
      std::vector<uint8_t> bytes(random() % 9000);
      for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
      CHECK(crc32c(bytes.data(), bytes.size()) == crc32cPortable(bytes.data(), bytes.size()));
      const size_t split = bytes.empty() ? 0 : random() % bytes.size();
      Sha256 hardware, portable(true);
      hardware.update(bytes.data(), split);
      hardware.update(bytes.data() + split, bytes.size() - split);
      portable.update(bytes.data(), bytes.size());
      CHECK(hardware.finish() == portable.finish());
    }
    Sha256 abc;
    abc.update(reinterpret_cast<const uint8_t*>("abc"), 3);
    CHECK(abc.finish() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(Sha256().finish() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  });

  test("what was written is read", [] {
    std::mt19937_64 random(2);
    for (int i = 0; i < 60; i++) {
      const Written written = randomSection(random, 1 + random() % 2000, i % 3 == 0, 400);
      checkEqual(written, SectionReader(written.bytes));
    }
  });

  test("a page is written as what is shortest, and not at all where it equals its parent", [] {
    std::mt19937_64 random(6);
    for (size_t changed = 0; changed <= patch::kWords; changed++) {
      const Page parent = randomPage(random, true);
      Page content = parent;
      for (size_t done = 0; done < changed;) {
        const size_t at = random() % patch::kWords * patch::kWordBytes;
        if (std::memcmp(&content[at], &parent[at], patch::kWordBytes) != 0) continue;
        content[at + random() % patch::kWordBytes] ^= 0x40;
        done++;
      }
      SectionWriter writer(1, false);
      writer.add(0, content.data(), parent.data());
      const std::vector<uint8_t> bytes = writer.finish();
      size_t seen = 0;
      SectionReader(bytes).each([&](PageNumber, PageKind kind, const uint8_t* at) {
        seen++;
        CHECK(changed > pagecode::kWords / 2 || kind == PageKind::kXor);
        Page page = kind == PageKind::kXor ? parent : Page(kPageBytes);
        for (size_t b = 0; b < kPageBytes; b++) page[b] ^= at[b];
        CHECK(page == content);
      });
      CHECK(seen == (changed > 0));
    }
    SectionWriter writer(2, false);
    const Page some = randomPage(random, true);
    writer.add(0, kZeroPage, some.data());
    writer.add(1, some.data(), nullptr);
    CHECK(writer.counts().zero == 1 && writer.counts().raw == 1);
  });

  test("pages are compared alike with and without the processor's help, and read as they were encoded", [] {
    std::mt19937_64 random(7);
    for (int i = 0; i < 4000; i++) {
      const Page base = randomPage(random, random() % 2);
      Page content = random() % 4 ? base : randomPage(random, random() % 2);
      for (uint64_t run = random() % 6; run > 0; run--) {  // of words: random, the same again and again, zero, short ones
        const uint64_t kind = random() % 4, again = random();
        for (size_t at = random() % pagecode::kWords, end = std::min<size_t>(pagecode::kWords, at + random() % 200); at < end; at++) {
          const uint64_t word = kind == 0 ? random() : kind == 1 ? again : kind == 2 ? 0 : random() % 1000 << random() % 50;
          std::memcpy(&content[at * pagecode::kWordBytes], &word, pagecode::kWordBytes);
        }
      }
      const uint8_t* against = random() % 3 ? base.data() : nullptr;
      pagecode::Difference one, other;
      pagecode::compare(content.data(), against, one, base.data(), content.data());
      pagecode::comparePortable(content.data(), against, other);
      CHECK(one.changed == other.changed && one.same == other.same);
      for (size_t group = 0; group < pagecode::kGroups; group++) {
        if (one.same[group] == 0xff) continue;
        CHECK(one.repeated[group] == other.repeated[group]);
        CHECK(std::memcmp(&one.words[group * 8], &other.words[group * 8], 64) == 0);
      }
      std::vector<uint8_t> code(pagecode::kMostCodeBytes + 8), words(kPageBytes + 64);
      const pagecode::Length length = pagecode::encode(one, code.data() + 1, words.data());
      const bool narrow = length.words <= pagecode::kMostNarrowWords * 8 && random() % 2;
      const auto lane = narrow ? pagecode::Lane::kNarrow : random() % 2 ? pagecode::Lane::kDense : pagecode::Lane::kPlain;
      code[0] = static_cast<uint8_t>(lane);
      size_t codeBytes = 1 + length.steps;
      if (narrow) codeBytes += pagecode::narrow(words.data(), length.words / 8, code.data() + codeBytes);
      pagecode::Cursor codes{code.data(), code.data() + codeBytes}, given{words.data(), words.data() + length.words}, none{words.data(), words.data()};
      Page page(kPageBytes, 0xee);
      CHECK(pagecode::decode(codes, lane == pagecode::Lane::kDense ? given : none, lane == pagecode::Lane::kPlain ? given : none, page.data()));
      CHECK(codes.left() == 0 && (narrow || given.left() == 0));
      for (size_t b = 0; against && b < kPageBytes; b++) page[b] ^= base[b];
      CHECK(page == content);
    }
  });

  test("the golden sections of all versions hold the same", [] {
    const auto golden = [](const char* name) {
      std::ifstream file(std::string(GOLDEN) + "/" + name, std::ios::binary);
      return std::vector<uint8_t>(std::istreambuf_iterator<char>(file), {});
    };
    std::map<PageNumber, Page> pages[3];
    const std::vector<uint8_t> bytes[3] = {golden("page-section-v1.bin"), golden("page-section-v2.bin"), golden("page-section-v3.bin")};
    for (int version : {0, 1, 2}) {
      SectionReader(bytes[version]).each([&](PageNumber page, PageKind kind, const uint8_t* content) { pages[version][page] = inFull(kind, content); });
    }
    CHECK(pages[0].size() == 4 && pages[0] == pages[1] && pages[0] == pages[2]);
  });

  test("any flipped bit and any truncation is refused", [] {
    std::mt19937_64 random(3);
    for (int i = 0; i < 400; i++) {
      const Written written = randomSection(random, 300, i % 2, 130);
      CHECK(accepted(written.bytes));
      std::vector<uint8_t> damaged = written.bytes;
      damaged[random() % damaged.size()] ^= static_cast<uint8_t>(1u << random() % 8);
      CHECK(!accepted(damaged));
      damaged = written.bytes;
      damaged.resize(random() % damaged.size());
      CHECK(!accepted(damaged));
      damaged = written.bytes;
      damaged.push_back(0);
      CHECK(!accepted(damaged));
    }
  });

  test("hostile bytes with right checksums do no harm", [] {
    std::mt19937_64 random(4);
    size_t refused = 0;
    for (int i = 0; i < 3000; i++) {
      std::vector<uint8_t> bytes = randomSection(random, 200, i % 2, 90).bytes;
      const size_t changes = 1 + random() % 4;
      for (size_t change = 0; change < changes; change++) {
        // Mostly in the header and the tables, where the counts are.
        const size_t at = random() % 4 ? random() % std::min<size_t>(bytes.size(), 200) : random() % bytes.size();
        bytes[at] = random() % 2 ? static_cast<uint8_t>(random()) : static_cast<uint8_t>(bytes[at] + 1);
      }
      mendChecksums(bytes);
      refused += !accepted(bytes);
    }
    CHECK(refused > 500);
  });

  test("a replica folds what it is given, and nothing of what it refuses", [] {
    std::mt19937_64 random(5);
    constexpr size_t kPages = 700;
    char name[] = "/tmp/virtcft-replica-XXXXXX";
    close(mkstemp(name));
    ReplicaImage replica(name, kPages * kPageBytes);
    std::vector<Page> model(kPages, Page(kPageBytes));
    const auto checkModel = [&] {
      Sha256 hash;
      for (const Page& page : model) hash.update(page.data(), page.size());
      CHECK(replica.digest() == hash.finish());
      std::vector<uint32_t> extents;
      for (uint32_t i = 0; i < kPages; i++) {
        if (isZeroPage(model[i].data())) continue;
        if (i > 0 && !isZeroPage(model[i - 1].data())) {
          extents.back()++;
        } else {
          extents.insert(extents.end(), {i, 1});
        }
      }
      CHECK(replica.extents() == extents);
    };
    for (int i = 0; i < 40; i++) {
      const bool full = i % 8 == 0;
      const Written written = randomSection(random, kPages, full, 300);
      std::vector<uint8_t> damaged = written.bytes;
      damaged.back() ^= 1;  // the last block: everything before it is right
      if (!written.pages.empty()) CHECK_FAILS("EBADSECTION", replica.apply(damaged));
      checkModel();
      CHECK(replica.apply(written.bytes) == written.pages.size());
      if (full) model.assign(kPages, Page(kPageBytes));
      for (const auto& [page, entry] : written.pages) {
        for (size_t b = 0; b < kPageBytes; b++) {
          model[page][b] = static_cast<uint8_t>(entry.second[b] ^ (entry.first == PageKind::kXor ? model[page][b] : 0));
        }
      }
      checkModel();
      const size_t first = random() % kPages, count = random() % (kPages - first + 1);
      const std::vector<uint8_t> part = replica.read(first, count);
      const SectionReader reader(part);
      CHECK(reader.counts().pages() == count && reader.counts().xored == 0 && !reader.full());
      reader.each([&](PageNumber page, PageKind, const uint8_t* content) { CHECK(samePage(content ? content : kZeroPage, model[page].data())); });
    }
    CHECK_FAILS("EINVAL", replica.read(kPages - 1, 2));
    CHECK_FAILS("EBADSECTION", replica.apply(randomSection(random, kPages + 1, false, 3).bytes));
    CHECK_FAILS("EINVAL", ReplicaImage(name, (kPages + 1) * kPageBytes));
    unlink(name);
  });
  return 0;
}
