// Page sections: the writer and the reader agree, damage is refused, hostile bytes do no harm; checksums and digests match known values.
#include <unistd.h>

#include <array>
#include <fstream>
#include <iterator>
#include <map>
#include <random>

#include "../src/section/crc32c.h"
#include "../src/section/page_catalog.h"
#include "../src/section/page_code.h"
#include "../src/section/patch.h"
#include "../src/section/references.h"
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

static SegmentName nameOf(size_t number) {
  SegmentName name{};
  std::memcpy(name.data(), &number, sizeof number);
  return name;
}

/** A memory that others may repeat: some sections with random pages, all in a catalog. */
struct Shared {
  PageCatalog catalog;
  std::vector<std::vector<uint8_t>> sections;
  std::vector<Page> pages;

  explicit Shared(std::mt19937_64& random, size_t count = 4) {
    for (size_t number = 0; number < count; number++) {
      SectionWriter writer(300, number % 2 == 0);
      for (PageNumber page = static_cast<PageNumber>(random() % 3); page < 300; page += 1 + static_cast<PageNumber>(random() % 40)) {
        pages.push_back(randomPage(random, true));
        writer.addRaw(page, pages.back().data());
      }
      sections.push_back(writer.finish());
      CHECK(catalog.add(nameOf(number), sections.back()) > 0);
    }
  }
};

/** As `randomSection`, where half of the raw pages are shared ones, and pages with a parent are written anew. */
static Written referringSection(std::mt19937_64& random, const Shared& shared, size_t memoryPages, bool full) {
  SectionWriter writer(memoryPages, full, &shared.catalog);
  Written written;
  for (size_t page = random() % 3; page < memoryPages && written.pages.size() < 90; page += 1 + random() % 5) {
    const auto number = static_cast<PageNumber>(page);
    const PageKind kind = full ? PageKind::kRaw : std::array{PageKind::kZero, PageKind::kRaw, PageKind::kXor}[random() % 3];
    const bool seen = kind == PageKind::kRaw && random() % 2;
    const Page content = seen ? shared.pages[random() % shared.pages.size()] : randomPage(random, false), parent = randomPage(random, true);
    if (kind == PageKind::kZero) writer.addZero(number);
    if (kind == PageKind::kRaw) full ? writer.addRaw(number, content.data()) : writer.add(number, content.data(), seen ? parent.data() : nullptr);
    if (kind == PageKind::kXor) writer.add(number, content.data(), kZeroPage);
    written.pages[number] = {kind, kind == PageKind::kZero ? Page(kPageBytes) : content};
  }
  written.bytes = writer.finish();
  return written;
}

static std::vector<uint8_t> resolved(const std::vector<uint8_t>& bytes, const Shared& shared) {
  std::vector<std::span<const uint8_t>> sources;
  const SectionReader reader(bytes);
  for (const SegmentName& name : reader.sources()) {
    size_t number;
    std::memcpy(&number, name.data(), sizeof number);
    sources.push_back(shared.sections.at(number));
  }
  return resolveReferences(bytes, sources);
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
  uint32_t pages, blocks, sources, referred = 0;
  std::memcpy(&pages, &bytes[12], 4);
  std::memcpy(&blocks, &bytes[16], 4);
  std::memcpy(&sources, &bytes[32], 4);
  for (uint64_t i = 0; i < pages && section::kHeaderBytes + 4 * i + 4 <= bytes.size(); i++) referred += bytes[section::kHeaderBytes + 4 * i + 3] >> 6 == 3;
  const uint64_t tables = 4ull * pages + 28ull * blocks + 32ull * sources + 24ull * referred;
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
    std::map<PageNumber, Page> pages[4];
    const std::vector<uint8_t> bytes[3] = {golden("page-section-v1.bin"), golden("page-section-v2.bin"), golden("page-section-v3.bin")};
    for (int version : {0, 1, 2}) {
      SectionReader(bytes[version]).each([&](PageNumber page, PageKind kind, const uint8_t* content) { pages[version][page] = inFull(kind, content); });
    }
    CHECK(pages[0].size() == 4 && pages[0] == pages[1] && pages[0] == pages[2]);
    // Its raw page is the one of version 3's, which it names.
    const std::vector<uint8_t> referring = golden("page-section-v4.bin");
    CHECK(SectionReader(referring).sources() == std::vector{nameOf(3)} && SectionReader(referring).counts().referred == 1);
    const std::array<std::span<const uint8_t>, 1> sources{bytes[2]};
    const std::vector<uint8_t> whole = resolveReferences(referring, sources);
    SectionReader(whole).each([&](PageNumber page, PageKind kind, const uint8_t* content) { pages[3][page] = inFull(kind, content); });
    CHECK(pages[0] == pages[3]);
  });

  test("a section refers to pages that a catalog holds, and is whole with the sections that it names", [] {
    std::mt19937_64 random(8);
    size_t referred = 0;
    for (int i = 0; i < 60; i++) {
      const Shared shared(random);
      const Written written = referringSection(random, shared, 200, i % 3 == 0);
      const SectionReader reader(written.bytes);
      referred += reader.counts().referred;
      CHECK(reader.counts().pages() == written.pages.size());
      const std::vector<uint8_t> whole = resolved(written.bytes, shared);
      CHECK(SectionReader(whole).full() == reader.full() && SectionReader(whole).memoryPages() == 200);
      checkEqual(written, SectionReader(whole));
      if (reader.counts().referred == 0) continue;
      CHECK_FAILS("EBADSECTION", reader.each([](PageNumber, PageKind, const uint8_t*) {}));
      // A source that is another one does not hold what is referred to, or has too few.
      const std::vector<uint8_t> other = SectionWriter(300, true).finish();
      const std::vector<std::span<const uint8_t>> none, wrong(reader.sources().size(), other);
      CHECK_FAILS("EBADSECTION", resolveReferences(written.bytes, none));
      CHECK_FAILS("EBADSECTION", resolveReferences(written.bytes, wrong));
    }
    CHECK(referred > 1000);
  });

  test("a page is not taken for the one that is referred to because it lies there", [] {
    std::mt19937_64 random(11);
    const Page meant = randomPage(random, true), other = randomPage(random, true);
    const auto sectionOf = [](const Page& page, const PageCatalog* catalog) {
      SectionWriter writer(8, false, catalog);
      writer.addRaw(5, page.data());
      return writer.finish();
    };
    PageCatalog catalog;
    const std::vector<uint8_t> source = sectionOf(meant, nullptr), changed = sectionOf(other, nullptr);
    catalog.add(nameOf(1), source);
    const std::vector<uint8_t> referring = sectionOf(meant, &catalog);
    CHECK(SectionReader(referring).counts().referred == 1);
    const std::array<std::span<const uint8_t>, 1> right{source}, wrong{changed};
    CHECK(codeOf([&] { resolveReferences(referring, right); }) == "no failure");
    CHECK_FAILS("EBADSECTION", resolveReferences(referring, wrong));
  });

  test("nothing refers to a page that is not raw in its section", [] {
    std::mt19937_64 random(9);
    const Page parent = randomPage(random, true), content = randomPage(random, true);
    SectionWriter source(10, false);
    source.add(3, content.data(), parent.data());  // without a catalog: against its parent
    const std::vector<uint8_t> bytes = source.finish();
    CHECK(SectionReader(bytes).counts().xored == 1);
    PageCatalog catalog;
    CHECK(catalog.add(nameOf(1), bytes) == 0 && catalog.sources() == 0);
    SectionWriter anew(10, false, &catalog);
    anew.add(3, content.data(), parent.data());  // as it is: others can refer to it
    CHECK(anew.counts().raw == 1);
  });

  test("a catalog forgets the oldest segments, or all, and never takes a page for another one", [] {
    std::mt19937_64 random(10);
    Shared shared(random, 3);
    const auto referred = [&](const Page& page) {
      SectionWriter writer(1, true, &shared.catalog);
      writer.addRaw(0, page.data());
      return writer.counts().referred == 1;
    };
    for (const Page& page : shared.pages) {
      CHECK(referred(page));
      Page other = page;
      other[random() % kPageBytes] ^= 0x10;
      CHECK(!referred(other));
    }
    shared.catalog.drop(1);
    CHECK(shared.catalog.sources() == 2 && !referred(shared.pages.front()) && referred(shared.pages.back()));
    shared.catalog.clear();
    CHECK(shared.catalog.sources() == 0);
    for (const Page& page : shared.pages) CHECK(!referred(page));
    for (size_t number = 0; number < section::kMostSources + 5; number++) CHECK(shared.catalog.add(nameOf(number), shared.sections[0]) > 0);
    CHECK(shared.catalog.sources() == section::kMostSources && referred(shared.pages.front()));
  });

  test("any flipped bit and any truncation is refused", [] {
    std::mt19937_64 random(3);
    const Shared shared(random);
    for (int i = 0; i < 400; i++) {
      const Written written = i % 4 < 2 ? randomSection(random, 300, i % 2, 130) : referringSection(random, shared, 300, i % 2);
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
    const Shared shared(random);
    size_t refused = 0;
    for (int i = 0; i < 3000; i++) {
      std::vector<uint8_t> bytes = i % 4 < 2 ? randomSection(random, 200, i % 2, 90).bytes : referringSection(random, shared, 200, i % 2).bytes;
      const size_t changes = 1 + random() % 4;
      for (size_t change = 0; change < changes; change++) {
        // Mostly in the header and the tables, where the counts are.
        const size_t at = random() % 4 ? random() % std::min<size_t>(bytes.size(), 200) : random() % bytes.size();
        bytes[at] = random() % 2 ? static_cast<uint8_t>(random()) : static_cast<uint8_t>(bytes[at] + 1);
      }
      // And in the table of references, which lies before the payload.
      if (i % 4 >= 2 && random() % 4 == 0) bytes[std::min<size_t>(bytes.size() - 1, 200 + random() % 600)] = static_cast<uint8_t>(random());
      mendChecksums(bytes);
      const bool good = accepted(bytes);
      refused += !good;
      if (!good || SectionReader(bytes).sources().empty()) continue;
      const std::vector<std::span<const uint8_t>> sources(SectionReader(bytes).sources().size(), shared.sections[0]);
      const std::string code = codeOf([&] { resolveReferences(bytes, sources); });
      CHECK(code == "no failure" || code == "EBADSECTION");
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
