// The disk: layers, files that outlive the process, fill, and the server against clients that mean well and clients that do not.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "../src/disk/guest_disk.h"
#include "../src/section/replica_image.h"
#include "../src/section/sha256.h"
#include "check.h"
#include "nbd_client.h"

using namespace virtcft;
using Bytes = std::vector<uint8_t>;
namespace fs = std::filesystem;

namespace {

constexpr size_t kBlock = kPageBytes;

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/virtcft-disk-XXXXXX";
    CHECK(::mkdtemp(name));
    path = name;
  }
  ~Folder() { fs::remove_all(path); }
  std::string path;
  std::string operator/(const std::string& name) const { return path + "/" + name; }
};

/** A disk and the image below it. */
struct Disk {
  explicit Disk(std::unique_ptr<DiskImage> made) : image(made.get()), guest(new GuestDisk(std::move(made))) {}
  static Disk create(const std::string& directory, size_t blocks, const std::string& raw = "") { return Disk(DiskImage::create(directory, blocks * kBlock, raw)); }
  static Disk reopen(const std::string& directory) { return Disk(DiskImage::reopen(directory)); }
  void write(size_t offset, const Bytes& bytes) {
    CHECK(image->write(offset, bytes.size(), bytes.data()) == Answer::kDone);
    image->commit();
  }
  Bytes read(size_t offset, size_t length) const {
    Bytes bytes(length);
    std::vector<Place> places;
    CHECK(image->read(offset, length, bytes.data(), false, places) == Answer::kDone);
    return bytes;
  }
  DiskImage* image;
  std::unique_ptr<GuestDisk> guest;
};

std::string hashOf(const Bytes& bytes) {
  Sha256 hash;
  hash.update(bytes.data(), bytes.size());
  return hash.finish();
}
Bytes blockOf(uint64_t value) {
  Bytes block(kBlock);
  for (size_t i = 0; i < kBlock; i += 8) std::memcpy(block.data() + i, &value, 8);
  return block;
}

void settling(size_t scale) {
  std::mt19937 random(5);
  for (size_t round = 0; round < 300 * scale; round++) {
    std::vector<int> model(64, -1);
    std::vector<Extent> written;
    for (size_t i = 0, count = random() % 30; i < count; i++) {
      const uint32_t first = random() % 64, length = 1 + random() % (64 - first);
      const Place place = random() % 4;
      written.push_back({first, length, place});
      for (size_t block = first; block < first + length; block++) model[block] = place;
    }
    std::vector<int> settled(64, -1);
    size_t after = 0;
    for (const Extent& extent : settle(written)) {
      CHECK(extent.first >= after && extent.count > 0);
      after = extent.end();
      for (size_t block = extent.first; block < extent.end(); block++) settled[block] = extent.place;
    }
    CHECK(settled == model);
  }
}

/** The disk as a table of contents by epoch. */
struct Model {
  explicit Model(size_t blocks) : now(blocks * kBlock) { cuts[0] = now; }
  Bytes now;
  std::map<uint64_t, Bytes> cuts;  // the base's and the layers'
};

void randomSequences(size_t scale) {
  std::mt19937 random(11);
  const auto below = [&random](size_t bound) { return random() % bound; };
  for (size_t round = 0; round < 12 * scale; round++) {
    Folder folder;
    const size_t blocks = 1 + below(90);
    Model model(blocks);
    std::string raw;
    if (round % 2 == 0) {
      raw = folder / "raw.img";
      for (uint8_t& byte : model.now) byte = static_cast<uint8_t>(random());
      std::ofstream(raw, std::ios::binary).write(reinterpret_cast<const char*>(model.now.data()), static_cast<std::streamsize>(model.now.size()));
      model.cuts[0] = model.now;
    }
    fs::create_directory(folder / "disk");
    auto disk = std::make_unique<Disk>(Disk::create(folder / "disk", blocks, raw));
    CHECK(raw.empty() || !fs::exists(raw));
    ReplicaImage replica(folder / "replica", blocks * kBlock);
    std::optional<uint64_t> stored;
    uint64_t epoch = 0;
    for (size_t step = 0; step < 250; step++) {
      const size_t offset = below(model.now.size()), length = 1 + below(std::min<size_t>(model.now.size() - offset, 1 + below(9) * kBlock));
      const size_t kind = below(20);
      if (kind < 8) {
        Bytes bytes(length);
        for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
        disk->write(offset, bytes);
        std::copy(bytes.begin(), bytes.end(), model.now.begin() + static_cast<ptrdiff_t>(offset));
      } else if (kind < 11) {
        const bool exact = below(2);
        CHECK(disk->image->zero(offset, length, exact) == Answer::kDone);
        disk->image->commit();
        const size_t from = exact ? offset : (offset + kBlock - 1) / kBlock * kBlock, to = exact ? offset + length : (offset + length) / kBlock * kBlock;
        for (size_t at = from; at < to; at++) model.now[at] = 0;
      } else if (kind < 13) {
        CHECK(disk->read(offset, length) == Bytes(model.now.begin() + static_cast<ptrdiff_t>(offset), model.now.begin() + static_cast<ptrdiff_t>(offset + length)));
      } else if (kind < 16) {
        epoch += 1 + below(2);
        disk->guest->capture(epoch);
        if (below(2)) disk->guest->warm();
        model.cuts[epoch] = model.now;
        const Encoded encoded = disk->guest->encode(stored, epoch);
        replica.apply(encoded.section);
        stored = epoch;
        CHECK(replica.digest() == hashOf(model.now));
      } else if (kind == 16 && model.cuts.size() > 1 + below(4)) {  // often later: aborted layers stay
        const auto upTo = std::next(model.cuts.begin(), static_cast<ptrdiff_t>(1 + below(model.cuts.size() - 1)));
        if (stored && upTo->first > *stored) continue;
        disk->guest->fold(upTo->first);
        model.cuts.erase(model.cuts.begin(), upTo);
      } else if (kind == 17 && below(3) == 0) {
        const auto to = std::next(model.cuts.begin(), static_cast<ptrdiff_t>(below(model.cuts.size())));
        disk->guest->rollback(to->first);
        model.now = to->second;
        model.cuts.erase(std::next(to), model.cuts.end());
        stored = std::nullopt;
      } else if (kind == 18) {
        if (below(2)) disk->image->tidy(true);
        disk.reset();
        disk = std::make_unique<Disk>(Disk::reopen(folder / "disk"));
      } else {
        for (const auto& [cut, content] : model.cuts) CHECK(disk->guest->digest(cut) == hashOf(content));
        CHECK(disk->read(0, model.now.size()) == model.now);
        if (stored && !model.cuts.contains(*stored)) stored = std::nullopt;
        CHECK_FAILS("EEPOCH", disk->guest->digest(model.cuts.rbegin()->first + 1));
      }
      if (stored && !model.cuts.contains(*stored)) stored = std::nullopt;
    }
  }
}

void layersAreBounded() {
  Folder folder;
  Disk disk = Disk::create(folder.path, 4);
  for (uint64_t epoch = 1; epoch <= kMostLayers; epoch++) {
    disk.write(0, blockOf(epoch));
    disk.guest->capture(epoch);
  }
  disk.write(0, blockOf(99));
  CHECK_FAILS("ESTATE", disk.guest->capture(kMostLayers + 1));
  CHECK_FAILS("EEPOCH", disk.guest->capture(3));
  disk.guest->rollback(7);
  CHECK(disk.read(0, kBlock) == blockOf(7));
  disk.guest->fold(7);
  CHECK(disk.guest->stats().held.layers == 0 && disk.guest->stats().held.base_bytes == kBlock);
  CHECK_FAILS("EEPOCH", disk.guest->rollback(6));
  for (size_t i = 0; i < 2 * kMostPlanes; i++) {  // what a rollback drops gives its slots back
    disk.write(0, blockOf(i));
    disk.guest->rollback(7);
  }
  CHECK(disk.read(0, kBlock) == blockOf(7));
}

std::string journalOf(const std::string& directory) { return directory + "/journal"; }
void flip(const std::string& path, off_t at) {
  const int fd = ::open(path.c_str(), O_RDWR);
  uint8_t byte;
  CHECK(::pread(fd, &byte, 1, at) == 1);
  byte ^= 1;
  CHECK(::pwrite(fd, &byte, 1, at) == 1);
  ::close(fd);
}

void damagedFiles() {
  Folder folder;
  CHECK_FAILS("ENODISK", Disk::reopen(folder.path));
  CHECK_FAILS("ENODISK", Disk::reopen(folder / "nowhere"));
  CHECK_FAILS("EINVAL", DiskImage::create(folder.path, 100, ""));
  {
    Disk disk = Disk::create(folder.path, 8);
    disk.write(0, blockOf(1));
    disk.guest->capture(1);
    disk.write(kBlock, blockOf(2));
    CHECK_FAILS("ESTATE", Disk::reopen(folder.path));
  }
  CHECK_FAILS("EEXIST", DiskImage::create(folder.path, 8 * kBlock, ""));
  const auto whole = fs::file_size(journalOf(folder.path));
  for (size_t torn = 1; torn < 24; torn++) {  // an unfinished record is cut off
    std::ofstream(journalOf(folder.path), std::ios::binary | std::ios::app).write("\1\2\3\4\5\6\7\1\2\3\4\5\6\7\1\2\3\4\5\6\7\1\2", static_cast<std::streamsize>(torn));
    Disk disk = Disk::reopen(folder.path);
    CHECK(disk.read(kBlock, kBlock) == blockOf(2) && disk.guest->stats().held.layers == 1);
    CHECK(fs::file_size(journalOf(folder.path)) == whole);
  }
  for (off_t at = 0; at < static_cast<off_t>(whole); at++) {  // any other damage is found
    flip(journalOf(folder.path), at);
    CHECK_FAILS("EBADDISK", Disk::reopen(folder.path));
    flip(journalOf(folder.path), at);
  }
  fs::resize_file(journalOf(folder.path), 20);
  CHECK_FAILS("EBADDISK", Disk::reopen(folder.path));
  Folder other;
  { Disk::create(other.path, 8).write(0, blockOf(1)); }
  fs::rename(other / "plane-1", other / "gone");
  CHECK_FAILS("EBADDISK", Disk::reopen(other.path));
  fs::rename(other / "gone", other / "plane-1");
  fs::resize_file(other / "plane-1", kBlock);
  CHECK_FAILS("EBADDISK", Disk::reopen(other.path));
}

void fullDisk() {
  Folder folder;
  CHECK(::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  CHECK(::mount("tmpfs", folder.path.c_str(), "tmpfs", 0, "size=6m") == 0);
  {
    Disk disk = Disk::create(folder.path, 4096);
    size_t written = 0;
    const Bytes block = blockOf(77);
    Answer answer = Answer::kDone;
    while (written < 4096 && (answer = disk.image->write(written * kBlock, kBlock, block.data())) == Answer::kDone) written++;
    disk.image->commit();
    CHECK(answer == Answer::kNoRoom && written > 400);
    CHECK(disk.read((written - 1) * kBlock, kBlock) == block && disk.read(written * kBlock, kBlock) == Bytes(kBlock));
    disk.guest->capture(1);  // has its room kept for it
    CHECK(disk.image->write(0, kBlock, block.data()) == Answer::kNoRoom);
    disk.guest->fold(1);
    CHECK(disk.image->zero(0, 100 * kBlock, true) == Answer::kDone);  // a hole needs no room
    disk.image->commit();
    disk.guest->capture(2);
    disk.guest->fold(2);  // what this frees is given back when the next write finds no room
    for (size_t i = 0; i < 50; i++) CHECK(disk.image->write(i * kBlock, kBlock, blockOf(i + 1).data()) == Answer::kDone);
    disk.image->commit();
  }
  {
    Disk disk = Disk::reopen(folder.path);
    for (size_t i = 0; i < 50; i++) CHECK(disk.read(i * kBlock, kBlock) == blockOf(i + 1));
    CHECK(disk.read(50 * kBlock, 50 * kBlock) == Bytes(50 * kBlock));
    CHECK(disk.read(100 * kBlock, kBlock) == blockOf(77));
  }
  CHECK(::umount(folder.path.c_str()) == 0);
}

/** The socket's file is there before it is listened at. */
void waitForServer(const std::string& socket) {
  for (;;) {
    try {
      NbdClient::connectTo(socket);
      return;
    } catch (const std::runtime_error&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

void killedWriter(size_t scale) {
  constexpr size_t kBlocks = 64, kDepth = 8;
  for (size_t round = 0; round < 4 * scale; round++) {
    Folder folder;
    const std::string socket = folder / "nbd";
    fs::create_directory(folder / "disk");
    { Disk::create(folder / "disk", kBlocks); }
    const pid_t child = ::fork();
    CHECK(child >= 0);
    if (child == 0) {
      Disk disk = Disk::reopen(folder / "disk");
      disk.guest->serve(socket);
      for (uint64_t epoch = 1;; epoch++) {
        disk.guest->capture(epoch);
        if (epoch > 2) disk.guest->fold(epoch - 2);
        if (epoch % 8 == 0) disk.image->tidy(true);
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
    }
    waitForServer(socket);
    std::mt19937 random(static_cast<unsigned>(round));
    std::vector<uint64_t> answered(kBlocks), sent(kBlocks);  // version by block
    std::map<uint64_t, size_t> waiting;                      // version -> block
    {
      NbdClient client(socket);
      uint64_t version = 0;
      const size_t writes = 500 + random() % 1500;
      for (size_t done = 0; done < writes; done++) {
        while (waiting.size() < kDepth) {
          const size_t block = random() % kBlocks;
          if (sent[block] != answered[block]) break;  // one version of a block at a time, so that it is known which is the newest
          sent[block] = ++version;
          waiting[version] = block;
          client.send(nbd::kWrite, version, block * kBlock, kBlock, blockOf(version).data());
        }
        const auto reply = client.receive([](uint64_t) { return std::pair<uint8_t*, size_t>{nullptr, 0}; });
        CHECK(reply.error == 0);
        answered[waiting.at(reply.cookie)] = reply.cookie;
        waiting.erase(reply.cookie);
      }
      CHECK(::kill(child, SIGKILL) == 0);
    }
    int status;
    CHECK(::waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    Disk disk = Disk::reopen(folder / "disk");
    for (size_t block = 0; block < kBlocks; block++) {
      const Bytes content = disk.read(block * kBlock, kBlock);
      CHECK(content == blockOf(answered[block]) || content == blockOf(sent[block]));
    }
  }
}

bool answersWithin(const NbdClient& client, int wait_ms) {
  pollfd poll{client.fd(), POLLIN, 0};
  return ::poll(&poll, 1, wait_ms) == 1;
}

Bytes sectionOf(size_t blocks, const std::map<BlockNumber, Bytes>& contents) {
  SectionWriter writer(blocks, false);
  for (const auto& [block, content] : contents) content.empty() ? writer.addZero(block) : writer.addRaw(block, content.data());
  return writer.finish();
}

void lazyFill() {
  Folder folder;
  fs::create_directory(folder / "disk");
  Disk disk = Disk::create(folder / "disk", 64);
  disk.write(0, blockOf(1));
  disk.guest->beginFill(41);
  std::mutex mutex;
  std::vector<BlockNumber> asked;
  disk.guest->onWanted([&](const std::vector<BlockNumber>& blocks) {
    std::lock_guard lock(mutex);
    asked.insert(asked.end(), blocks.begin(), blocks.end());
  });
  const auto wanted = [&] {
    std::lock_guard lock(mutex);
    return std::exchange(asked, {});
  };
  disk.guest->serve(folder / "nbd");
  NbdClient client(folder / "nbd", true), other(folder / "nbd");
  CHECK(client.bytes() == 64 * kBlock);
  std::map<uint64_t, Bytes> reads;
  const auto into = [&reads](uint64_t cookie) {
    const auto found = reads.find(cookie);
    return found == reads.end() ? std::pair<uint8_t*, size_t>{nullptr, 0} : std::pair<uint8_t*, size_t>{found->second.data(), found->second.size()};
  };
  reads[1] = Bytes(2 * kBlock);
  client.send(nbd::kRead, 1, 3 * kBlock, 2 * kBlock);           // waits
  const Bytes whole = blockOf(9), part(100, 0xaa);
  client.send(nbd::kWrite, 2, 10 * kBlock, kBlock, whole.data());  // needs nothing
  client.send(nbd::kWrite, 3, 20 * kBlock + 5, 100, part.data());  // waits for the rest of its block
  client.send(nbd::kWriteZeroes, 4, 30 * kBlock, 2 * kBlock);      // needs nothing
  CHECK(client.receive(into).cookie == 2 && client.receive(into).cookie == 4);
  CHECK(other.read(10 * kBlock, kBlock) == whole && other.read(30 * kBlock, 2 * kBlock) == Bytes(2 * kBlock));
  CHECK(!answersWithin(client, 20));
  CHECK((wanted() == std::vector<BlockNumber>{3, 4, 20}));
  CHECK(disk.guest->capture(42).busy == 2);
  CHECK_FAILS("ESTATE", disk.guest->digest(42));
  CHECK_FAILS("ESTATE", disk.guest->encode(std::nullopt, 42));
  CHECK(disk.guest->encode(41, 42).counts.pages() == 3);  // a fill does not keep deltas waiting
  CHECK_FAILS("EBADSECTION", disk.guest->supply(sectionOf(63, {{1, whole}})));
  CHECK(disk.guest->supply(sectionOf(64, {{3, blockOf(33)}, {10, blockOf(10)}, {20, blockOf(20)}})) == 3);
  CHECK(client.receive(into).cookie == 3);
  CHECK(!answersWithin(client, 20));  // half of the read is still to come
  disk.guest->onWanted([&](const std::vector<BlockNumber>& blocks) {
    std::lock_guard lock(mutex);
    asked.insert(asked.end(), blocks.begin(), blocks.end());
  });
  CHECK((wanted() == std::vector<BlockNumber>{4}));  // who asks later is told what is waited for
  CHECK(disk.guest->supply(sectionOf(64, {{3, blockOf(34)}, {4, blockOf(44)}, {5, {}}})) == 2);
  CHECK(client.receive(into).cookie == 1);
  CHECK(Bytes(reads[1].begin(), reads[1].begin() + kBlock) == blockOf(33) && Bytes(reads[1].begin() + kBlock, reads[1].end()) == blockOf(44));
  Bytes patched = blockOf(20);
  std::copy(part.begin(), part.end(), patched.begin() + 5);
  CHECK(other.read(20 * kBlock, kBlock) == patched && other.read(10 * kBlock, kBlock) == whole);
  CHECK(disk.guest->fillStats().present == 5 && !disk.guest->fillStats().done && disk.guest->fillStats().faults == 2);
  const auto check = [&](Disk& filled) {
    Bytes content(64 * kBlock);
    const auto set = [&](size_t block, const Bytes& bytes) { std::copy(bytes.begin(), bytes.end(), content.begin() + static_cast<ptrdiff_t>(block * kBlock)); };
    set(3, blockOf(33)), set(4, blockOf(44)), set(20, patched), set(10, whole);
    CHECK(filled.read(0, content.size()) == content);
    CHECK(filled.guest->fillStats().done);
    set(20, blockOf(20)), set(10, whole);
    CHECK(filled.guest->digest(42) == hashOf(content));
    set(10, blockOf(10));
    CHECK(filled.guest->digest(41) == hashOf(content));
  };
  disk.guest.reset();  // the fill goes on in another life
  Disk next = Disk::reopen(folder / "disk");
  CHECK(next.guest->fillStats().present == 5);
  next.guest->serve(folder / "nbd");
  NbdClient late(folder / "nbd");
  late.send(nbd::kRead, 5, 50 * kBlock, kBlock);
  CHECK(!answersWithin(late, 20));
  CHECK(next.guest->supplyRestAsZero() == 59);
  reads[5] = blockOf(1);
  CHECK(late.receive(into).cookie == 5 && reads[5] == Bytes(kBlock));
  check(next);
  next.image->tidy(true);
  next.guest.reset();
  Disk last = Disk::reopen(folder / "disk");
  check(last);
}

/** Reads that miss the page cache take another way than those that find it. */
void storageReads() {
  Folder folder;
  fs::create_directory(folder / "disk");
  constexpr size_t kBlocks = 2048;
  Disk disk = Disk::create(folder / "disk", kBlocks);
  disk.guest->serve(folder / "nbd");
  NbdClient client(folder / "nbd", true);
  for (size_t block = 0; block < kBlocks; block++) CHECK(client.write(block * kBlock, blockOf(block + 1)) == 0);
  const int fd = ::open((folder / "disk/plane-1").c_str(), O_RDONLY);
  CHECK(::fsync(fd) == 0 && ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
  ::close(fd);
  std::map<uint64_t, Bytes> reads;
  std::mt19937 random(23);
  for (uint64_t cookie = 0; cookie < 300; cookie++) {  // more than may wait at once
    reads[cookie] = Bytes(kBlock);
    client.send(nbd::kRead, cookie, random() % kBlocks * kBlock, kBlock);
  }
  random.seed(23);
  for (size_t i = 0; i < reads.size(); i++) {
    CHECK(client.receive([&](uint64_t cookie) { return std::pair<uint8_t*, size_t>{reads.at(cookie).data(), kBlock}; }).error == 0);
  }
  for (uint64_t cookie = 0; cookie < 300; cookie++) CHECK(reads[cookie] == blockOf(random() % kBlocks + 1));
  CHECK(disk.guest->capture(1).busy == 0);
}

/** Writers, readers and cuts at the same time; every cut of a quiet moment is what the clients had written. */
void clientsAndCuts(size_t scale) {
  Folder folder;
  fs::create_directory(folder / "disk");
  constexpr size_t kBlocks = 512;
  Disk disk = Disk::create(folder / "disk", kBlocks);
  disk.guest->serve(folder / "nbd");
  ReplicaImage replica(folder / "replica", kBlocks * kBlock);
  Bytes content(kBlocks * kBlock);
  std::mt19937 random(3);
  std::optional<uint64_t> parent;
  NbdClient client(folder / "nbd");
  for (uint64_t epoch = 1; epoch <= 15 * scale; epoch++) {
    std::atomic<bool> stop{false};
    std::thread reader([&] {
      NbdClient own(folder / "nbd", true);
      while (!stop) CHECK(own.read(0, 8 * kBlock).size() == 8 * kBlock);
    });
    for (size_t i = 0; i < 60; i++) {
      const size_t offset = random() % content.size(), length = 1 + random() % std::min<size_t>(content.size() - offset, 200'000);
      if (random() % 4 == 0) {
        CHECK(client.call(nbd::kWriteZeroes, offset, static_cast<uint32_t>(length), nullptr) == 0);
        std::fill_n(content.begin() + static_cast<ptrdiff_t>(offset), length, 0);
      } else {
        Bytes bytes(length, static_cast<uint8_t>(random()));
        CHECK(client.write(offset, bytes) == 0);
        std::copy(bytes.begin(), bytes.end(), content.begin() + static_cast<ptrdiff_t>(offset));
      }
    }
    stop = true;
    reader.join();
    CHECK(client.call(nbd::kFlush, 0, 0, nullptr) == 0);
    CHECK(disk.guest->capture(epoch).busy == 0);
    replica.apply(disk.guest->encode(parent, epoch).section);
    CHECK(replica.digest() == hashOf(content));
    parent = epoch;
    if (epoch % 2 == 0) disk.guest->fold(epoch);
  }
  const uint64_t cut = *parent;
  CHECK(client.write(0, Bytes(100'000, 1)) == 0);
  CHECK(disk.guest->rollback(cut) > 20);
  try {
    client.read(0, 1);
    CHECK(!"a rollback cuts connections");
  } catch (const std::runtime_error&) {
  }
  NbdClient next(folder / "nbd");
  CHECK(next.read(0, kBlocks * kBlock) == content);
  CHECK(disk.guest->stats().connections == 1);
}

void hostileClients(size_t scale) {
  Folder folder;
  fs::create_directory(folder / "disk");
  Disk disk = Disk::create(folder / "disk", 16);
  disk.guest->serve(folder / "nbd");
  CHECK_FAILS("ESTATE", disk.guest->serve(folder / "nbd2"));
  NbdClient good(folder / "nbd", true);
  CHECK(good.write(0, blockOf(5)) == 0);
  Bytes scratch(2 * kBlock);
  CHECK(good.call(nbd::kRead, 16 * kBlock - 1, 2, scratch.data()) == nbd::kEinval);
  CHECK(good.call(nbd::kRead, ~0ull - 10, 100, scratch.data()) == nbd::kEinval);
  CHECK(good.call(nbd::kRead, 0, kMostRequestBytes + 1, scratch.data()) == nbd::kEinval);
  CHECK(good.call(nbd::kWrite, 15 * kBlock, 2 * kBlock, scratch.data()) == nbd::kEnospc);
  CHECK(good.call(nbd::kTrim, 0, ~0u, nullptr) == nbd::kEinval);
  CHECK(good.call(9, 0, 1, nullptr) == nbd::kEinval);
  CHECK(good.call(nbd::kFlush, 0, 0, nullptr, 1 << 9) == nbd::kEinval);
  CHECK(good.call(nbd::kRead, 5, 0, nullptr) == 0);
  CHECK(good.call(nbd::kWrite, 5, 0, nullptr, 1) == 0);
  std::mt19937 random(17);
  const auto junk = [&random](size_t most) {
    Bytes bytes(random() % most);
    for (uint8_t& byte : bytes) byte = random() % 3 ? static_cast<uint8_t>(random()) : 0;
    return bytes;
  };
  for (size_t round = 0; round < 150 * scale; round++) {
    try {
      const Bytes bytes = junk(3000);
      if (round % 3 == 0) {  // from the first byte on
        const Descriptor fd = NbdClient::connectTo(folder / "nbd");
        static_cast<void>(!::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
      } else if (round % 3 == 1) {  // options
        const Descriptor fd = NbdClient::connectTo(folder / "nbd");
        Bytes options{0, 0, 0, static_cast<uint8_t>(random() % 4)};
        for (size_t i = 0; i < 20; i++) {
          const Bytes data = junk(40);
          uint8_t header[16];
          nbd::store<uint32_t>(nbd::store<uint32_t>(nbd::store(header, nbd::kOptionMagic), 1 + random() % 11), static_cast<uint32_t>(data.size()));
          options.insert(options.end(), header, header + 16);
          options.insert(options.end(), data.begin(), data.end());
        }
        static_cast<void>(!::send(fd.get(), options.data(), options.size(), MSG_NOSIGNAL));
      } else {  // requests
        NbdClient bad(folder / "nbd", round % 2);
        for (size_t i = 0; i < 20; i++) {
          const auto command = static_cast<uint16_t>(random() % 9);
          const uint32_t length = command == nbd::kWrite ? random() % 5000 : static_cast<uint32_t>(random());
          const Bytes data(command == nbd::kWrite ? length : 0, 1);
          const uint64_t offset = random() % 2 ? random() % (20 * kBlock) + kBlock : uint64_t{random()} << 32 | random();
          bad.send(command, i, offset, length, data.data(), static_cast<uint16_t>(random() % 2));
        }
        bad.put(bytes.data(), bytes.size());
      }
    } catch (const std::runtime_error&) {
    }
  }
  CHECK(good.read(0, kBlock) == blockOf(5));
  // Who says nothing gives way to who does; who speaks stays.
  std::vector<Descriptor> silent;
  for (size_t i = 0; i < kMostConnections + 5; i++) silent.push_back(NbdClient::connectTo(folder / "nbd"));
  NbdClient late(folder / "nbd");
  CHECK(late.read(0, kBlock) == blockOf(5) && good.read(0, kBlock) == blockOf(5));
  CHECK(disk.guest->stats().connections <= kMostConnections);
  // A client that never reads its answers keeps nobody else waiting.
  NbdClient deaf(folder / "nbd");
  for (size_t i = 0; i < 2000; i++) {
    uint8_t request[nbd::kRequestBytes];
    uint8_t* at = nbd::store<uint16_t>(nbd::store<uint16_t>(nbd::store(request, nbd::kRequestMagic), 0), nbd::kRead);
    nbd::store<uint32_t>(nbd::store<uint64_t>(nbd::store<uint64_t>(at, i), 0), 16 * kBlock);
    if (::send(deaf.fd(), request, sizeof request, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) break;
  }
  CHECK(late.read(0, kBlock) == blockOf(5));
}

}  // namespace

int main(int count, char** arguments) {
  const size_t scale = count > 1 ? static_cast<size_t>(std::atoi(arguments[1])) : 1;
  test("every answered write is there after the process was killed", [&] { killedWriter(scale); });
  test("extents settle to what was written last", [&] { settling(scale); });
  test("random sequences agree with the model", [&] { randomSequences(scale); });
  test("layers are bounded, and each keeps its content", [&] { layersAreBounded(); });
  test("an unfinished journal record is cut off, any other damage is found", [&] { damagedFiles(); });
  test("a full disk is an error, and what was answered stays", [&] { fullDisk(); });
  test("a fill serves at once: who needs what is absent waits, nobody else", [&] { lazyFill(); });
  test("reads that miss the page cache are answered, in any order", [&] { storageReads(); });
  test("clients and cuts at the same time", [&] { clientsAndCuts(scale); });
  test("hostile clients do no harm", [&] { hostileClients(scale); });
  return 0;
}
