#include "replica_image.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "../memory/failure.h"
#include "patch.h"
#include "sha256.h"

namespace virtcft {

namespace {
constexpr size_t kReadPages = 256;  // 1 MiB per read
constexpr size_t kWritePages = section::kBlockPages;
constexpr size_t kKeptPages = 2048;  // 8 MiB: a cut's change of a guest, as a rule

/** Gathers neighbours, so that a run of pages is one call. */
class Runs {
 public:
  Runs(size_t limit, std::function<void(size_t first, size_t count)> flush) : limit_(limit), flush_(std::move(flush)) {}
  /** Position of the page in the run. */
  size_t add(size_t page) {
    if (count_ > 0 && (page != first_ + count_ || count_ == limit_)) flush();
    if (count_ == 0) first_ = page;
    return count_++;
  }
  void flush() {
    if (count_ > 0) flush_(first_, count_);
    count_ = 0;
  }

 private:
  size_t limit_;
  std::function<void(size_t, size_t)> flush_;
  size_t first_ = 0;
  size_t count_ = 0;
};

/** The pages of a section that was valid to its end: unpacked once, where a larger one is unpacked to be checked and again to be written. */
class Kept {
 public:
  explicit Kept(const SectionReader& section) {
    pages_.reserve(section.counts().pages());
    contents_.reserve(section.counts().pages() * kPageBytes);
    section.each([&](PageNumber page, PageKind kind, const uint8_t* content) {
      pages_.push_back({page, kind, contents_.size()});
      if (kind != PageKind::kZero) contents_.insert(contents_.end(), content, content + (kind == PageKind::kPatch ? patch::lengthOf(content, kPageBytes) : kPageBytes));
    });
  }
  void each(const ReplicaImage::PageSink& page) const {
    for (const Page& kept : pages_) page(kept.number, kept.kind, kept.kind == PageKind::kZero ? nullptr : contents_.data() + kept.at);
  }

 private:
  struct Page {
    PageNumber number;
    PageKind kind;
    size_t at;
  };
  std::vector<Page> pages_;
  std::vector<uint8_t> contents_;
};
}  // namespace

ReplicaImage::ReplicaImage(const std::string& path, size_t bytes) : bytes_(bytes), path_(path) {
  if (bytes == 0 || bytes % kPageBytes != 0 || bytes / kPageBytes > kMaxPages) {
    throw Failure(code::kInvalid, "replica of " + std::to_string(bytes) + " bytes: must be a positive multiple of 4096, at most 4 TiB");
  }
  fd_.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd_) failWith(code::kIo, "open replica " + path);
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0) failWith(code::kIo, "stat replica " + path);
  if (info.st_size == 0) {
    if (::ftruncate(fd_.get(), static_cast<off_t>(bytes)) != 0) failWith(code::kIo, "size replica " + path);
  } else if (static_cast<size_t>(info.st_size) != bytes) {
    throw Failure(code::kInvalid, "replica " + path + " has " + std::to_string(info.st_size) + " bytes, expected " + std::to_string(bytes));
  }
}

void ReplicaImage::load(size_t first, size_t count, uint8_t* to) {
  for (size_t done = 0, bytes = count * kPageBytes; done < bytes;) {
    const ssize_t got = ::pread(fd_.get(), to + done, bytes - done, static_cast<off_t>(first * kPageBytes + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) failWith(code::kIo, "read replica " + path_);
    if (got == 0) throw Failure(code::kIo, "replica " + path_ + " became shorter");
    done += static_cast<size_t>(got);
  }
}

void ReplicaImage::store(size_t first, size_t count, const uint8_t* from) {
  for (size_t done = 0, bytes = count * kPageBytes; done < bytes;) {
    const ssize_t put = ::pwrite(fd_.get(), from + done, bytes - done, static_cast<off_t>(first * kPageBytes + done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) failWith(code::kIo, "write replica " + path_);
    done += static_cast<size_t>(put);
  }
}

void ReplicaImage::punch(size_t first, size_t count) {
  const auto at = static_cast<off_t>(first * kPageBytes);
  if (::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, static_cast<off_t>(count * kPageBytes)) == 0) return;
  if (errno != EOPNOTSUPP) failWith(code::kIo, "empty pages of replica " + path_);
  for (size_t page = first; page < first + count; page++) store(page, 1, kZeroPage);  // a file system without holes
}

size_t ReplicaImage::apply(std::span<const uint8_t> bytes) {
  const SectionReader section(bytes);
  if (section.memoryPages() != pages()) {
    throw Failure(code::kBadSection, "page section refused: it is of a memory of " + std::to_string(section.memoryPages()) + " pages, the replica has " +
                                         std::to_string(pages()));
  }
  if (section.counts().pages() > kKeptPages) {
    section.each([](PageNumber, PageKind, const uint8_t*) {});  // as a whole, before anything is changed
    write(section.full(), [&](const auto& page) { section.each(page); });
  } else {
    const Kept kept(section);
    write(section.full(), [&](const auto& page) { kept.each(page); });
  }
  return section.counts().pages();
}

void ReplicaImage::write(bool full, const std::function<void(const PageSink&)>& each) {
  std::lock_guard lock(mutex_);
  if (full) punch(0, pages());
  std::vector<uint8_t> gathered(kWritePages * kPageBytes);
  Runs writes(kWritePages, [&](size_t first, size_t count) { store(first, count, gathered.data()); });
  Runs holes(pages(), [&](size_t first, size_t count) { punch(first, count); });
  each([&](PageNumber page, PageKind kind, const uint8_t* content) {
    if (kind == PageKind::kZero) {
      holes.add(page);
      return;
    }
    uint8_t* to = gathered.data() + writes.add(page) * kPageBytes;
    if (kind == PageKind::kRaw) {
      std::memcpy(to, content, kPageBytes);
      return;
    }
    load(page, 1, to);
    if (kind == PageKind::kPatch) return patch::apply(content, to);
    for (size_t i = 0; i < kPageBytes; i++) to[i] ^= content[i];
  });
  writes.flush();
  holes.flush();
}

void ReplicaImage::eachPage(size_t first, size_t count, const std::function<void(PageNumber, const uint8_t*)>& page) {
  std::vector<uint8_t> buffer(kReadPages * kPageBytes);
  const size_t end = first + count;
  for (size_t at = first; at < end;) {
    const off_t data = ::lseek(fd_.get(), static_cast<off_t>(at * kPageBytes), SEEK_DATA);
    if (data < 0 && errno != ENXIO) failWith(code::kIo, "find data of replica " + path_);
    const size_t hole = data < 0 ? end : std::min(end, static_cast<size_t>(data) / kPageBytes);
    for (; at < hole; at++) page(static_cast<PageNumber>(at), nullptr);
    if (at == end) return;
    const size_t run = std::min(kReadPages, end - at);
    load(at, run, buffer.data());
    for (size_t i = 0; i < run; i++) {
      const uint8_t* content = buffer.data() + i * kPageBytes;
      page(static_cast<PageNumber>(at + i), isZeroPage(content) ? nullptr : content);
    }
    at += run;
  }
}

std::vector<uint8_t> ReplicaImage::read(size_t first, size_t count) {
  if (first > pages() || count > pages() - first) {
    throw Failure(code::kInvalid, "pages " + std::to_string(first) + "+" + std::to_string(count) + " are beyond the replica's " + std::to_string(pages()));
  }
  std::lock_guard lock(mutex_);
  SectionWriter writer(pages(), false);
  eachPage(first, count, [&](PageNumber page, const uint8_t* content) { content ? writer.addRaw(page, content) : writer.addZero(page); });
  return writer.finish();
}

std::vector<uint32_t> ReplicaImage::extents() {
  std::lock_guard lock(mutex_);
  std::vector<uint32_t> found;
  eachPage(0, pages(), [&](PageNumber page, const uint8_t* content) {
    if (!content) return;
    if (!found.empty() && found[found.size() - 2] + found.back() == page) {
      found.back()++;
    } else {
      found.insert(found.end(), {page, 1});
    }
  });
  return found;
}

std::string ReplicaImage::digest() {
  std::lock_guard lock(mutex_);
  Sha256 hash;
  eachPage(0, pages(), [&](PageNumber, const uint8_t* content) { hash.update(content ? content : kZeroPage, kPageBytes); });
  return hash.finish();
}

void ReplicaImage::sync() {
  if (::fdatasync(fd_.get()) != 0) failWith(code::kIo, "sync replica " + path_);
}

}  // namespace virtcft
