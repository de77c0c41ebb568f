#include "journal.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <bit>
#include <cstddef>

#include "../memory/failure.h"
#include "../section/crc32c.h"
#include "limits.h"

namespace virtcft {

static_assert(std::endian::native == std::endian::little, "journals are little-endian and written as they lie in memory");

namespace {

constexpr uint32_t kMagic = 0x4a444356;  // "VCDJ"
constexpr uint16_t kVersion = 1;
constexpr size_t kGathered = 4096;  // records per write of a draft
constexpr size_t kSpareRecords = 64;  // kept free beyond what a write asks for, so that a seal or a fold finds room on a full disk

struct Header {
  uint32_t magic;
  uint16_t version;
  uint16_t reserved;
  uint32_t blocks;
  std::array<uint8_t, 16> boot;
  uint32_t crc;
};
static_assert(sizeof(Header) == 32);

std::string pathIn(const std::string& directory) { return directory + "/journal"; }

/** Names this run of the kernel: the page cache of another one is gone, and with it what was never synced. */
std::array<uint8_t, 16> bootId() {
  std::array<char, 36> text{};
  const Descriptor fd(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
  if (!fd || ::read(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) failWith(code::kIo, "read the kernel's boot id");
  std::array<uint8_t, 16> id{};
  size_t digits = 0;
  for (const char digit : text) {
    if (digit == '-') continue;
    const int value = digit >= 'a' ? digit - 'a' + 10 : digit - '0';
    id[digits / 2] = static_cast<uint8_t>(id[digits / 2] << 4 | value);
    digits++;
  }
  return id;
}

void writeAll(int fd, const void* bytes, size_t length, const std::string& path) {
  for (size_t done = 0; done < length;) {
    const ssize_t put = ::write(fd, static_cast<const uint8_t*>(bytes) + done, length - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) failWith(code::kIo, "write " + path);
    done += static_cast<size_t>(put);
  }
}

uint32_t crcOf(const JournalRecord& record, size_t number) {
  return crc32c(&record.change, sizeof record - offsetof(JournalRecord, change), static_cast<uint32_t>(number + 1));
}

[[noreturn]] void bad(const std::string& path, const std::string& what) { throw Failure(code::kBadDisk, path + ": " + what); }

}  // namespace

bool Journal::exists(const std::string& directory) { return ::access(pathIn(directory).c_str(), F_OK) == 0; }

size_t Journal::open() {
  const std::string path = pathIn(directory_);
  fd_.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd_ && (errno == ENOENT || errno == ENOTDIR)) throw Failure(code::kNoDisk, "no disk in " + directory_);
  if (!fd_) failWith(code::kIo, "open " + path);
  Header header{};
  if (::read(fd_.get(), &header, sizeof header) != static_cast<ssize_t>(sizeof header)) bad(path, "too short for a journal");
  if (header.magic != kMagic || header.crc != crc32c(&header, offsetof(Header, crc))) bad(path, "not a journal, or damaged");
  if (header.version != kVersion) bad(path, "of version " + std::to_string(header.version) + ", this program knows " + std::to_string(kVersion));
  if (header.boot != bootId()) bad(path, "written before this machine started anew; disks are not synced, restore it from the store");
  if (header.blocks == 0 || header.blocks > kMaxPages) bad(path, "a disk of " + std::to_string(header.blocks) + " blocks cannot be");
  return header.blocks;
}

void Journal::replay(const std::function<void(const JournalRecord&)>& each) {
  const std::string path = pathIn(directory_);
  std::vector<uint8_t> buffer(kGathered * sizeof(JournalRecord));
  records_ = 0;
  for (size_t held = 0;;) {
    const ssize_t got = ::read(fd_.get(), buffer.data() + held, buffer.size() - held);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) failWith(code::kIo, "read " + path);
    if (got == 0) break;  // what is left over is a record that was being written when the process died: nobody was answered for it
    held += static_cast<size_t>(got);
    size_t at = 0;
    for (; held - at >= sizeof(JournalRecord); at += sizeof(JournalRecord), records_++) {
      JournalRecord record;
      std::memcpy(&record, buffer.data() + at, sizeof record);
      if (record.crc != crcOf(record, records_)) bad(path, "record " + std::to_string(records_) + " does not verify");
      each(record);
    }
    held -= at;
    std::memmove(buffer.data(), buffer.data() + at, held);
  }
  if (::ftruncate(fd_.get(), static_cast<off_t>(bytes())) != 0) failWith(code::kIo, "cut the unfinished end of " + path);
  if (::lseek(fd_.get(), static_cast<off_t>(bytes()), SEEK_SET) < 0) failWith(code::kIo, "go to the end of " + path);
  rewrittenBytes_ = 0;
  reservedBytes_ = 0;
}

size_t Journal::bytes() const { return sizeof(Header) + records_ * sizeof(JournalRecord); }

bool Journal::grown() const { return bytes() > 2 * rewrittenBytes_ + kJournalGrowthBytes; }

int Journal::reserve(size_t records) {
  const size_t needed = bytes() + (records + kSpareRecords) * sizeof(JournalRecord);
  if (needed <= reservedBytes_) return 0;
  const size_t length = needed - bytes() + kJournalAheadBytes;
  const auto from = static_cast<off_t>(bytes());
  // With little room left the least is asked for before the disk is called full.
  if (::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, from, static_cast<off_t>(length)) != 0) {
    if (errno == ENOSPC && ::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, from, static_cast<off_t>(needed - bytes())) == 0) {
      reservedBytes_ = needed;
      return 0;
    }
    if (errno != EOPNOTSUPP && errno != EINTR) return errno;
  }
  reservedBytes_ = bytes() + length;
  return 0;
}

void Journal::add(JournalRecord record) {
  record.crc = crcOf(record, records_++);
  added_.push_back(record);
}

void Journal::write() {
  if (added_.empty()) return;
  const auto at = static_cast<off_t>(bytes() - added_.size() * sizeof(JournalRecord));
  const size_t length = added_.size() * sizeof(JournalRecord);
  for (size_t done = 0; done < length;) {
    const ssize_t put = ::pwrite(fd_.get(), reinterpret_cast<const uint8_t*>(added_.data()) + done, length - done, at + static_cast<off_t>(done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) failWith(code::kIo, "write " + pathIn(directory_));  // what was added stays, and is written again by the next call
    done += static_cast<size_t>(put);
  }
  added_.clear();
}

Journal::Draft::Draft(const std::string& directory, size_t blocks) : path_(pathIn(directory) + ".draft") {
  fd_.reset(::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd_) failWith(code::kIo, "make " + path_);
  Header header{kMagic, kVersion, 0, static_cast<uint32_t>(blocks), bootId(), 0};
  header.crc = crc32c(&header, offsetof(Header, crc));
  writeAll(fd_.get(), &header, sizeof header, path_);
}

Journal::Draft::~Draft() {
  if (!done_) ::unlink(path_.c_str());
}

void Journal::Draft::add(JournalRecord record) {
  record.crc = crcOf(record, records_++);
  gathered_.push_back(record);
  if (gathered_.size() == kGathered) flush();
}

void Journal::Draft::flush() {
  if (!gathered_.empty()) writeAll(fd_.get(), gathered_.data(), gathered_.size() * sizeof(JournalRecord), path_);
  gathered_.clear();
}

void Journal::replaceBy(Draft& draft) {
  draft.flush();
  const std::string path = pathIn(directory_);
  if (::rename(draft.path_.c_str(), path.c_str()) != 0) failWith(code::kIo, "put " + draft.path_ + " in the place of " + path);
  draft.done_ = true;
  fd_ = std::move(draft.fd_);
  added_.clear();
  records_ = draft.records_;
  rewrittenBytes_ = bytes();
  reservedBytes_ = 0;
}

}  // namespace virtcft
