// Test support: a RAM file and a guest process on it.
#pragma once
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "../src/memory/page.h"
#include "check.h"

/** A RAM file of its own on tmpfs, mapped here too as the plain truth. */
class RamFile {
 public:
  explicit RamFile(size_t pages) : bytes_(pages * virtcft::kPageBytes) {
    char name[] = "/dev/shm/virtcft-test-XXXXXX";
    const int fd = mkstemp(name);
    CHECK(fd >= 0 && ftruncate(fd, static_cast<off_t>(bytes_)) == 0);
    path_ = name;
    map_ = static_cast<uint8_t*>(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    CHECK(map_ != MAP_FAILED);
    close(fd);
  }
  ~RamFile() {
    munmap(map_, bytes_);
    unlink(path_.c_str());
  }
  RamFile(const RamFile&) = delete;
  RamFile& operator=(const RamFile&) = delete;
  const std::string& path() const { return path_; }
  size_t bytes() const { return bytes_; }
  uint8_t* page(size_t number) const { return map_ + number * virtcft::kPageBytes; }
  size_t heldPages() const {
    struct stat info {};
    CHECK(stat(path_.c_str(), &info) == 0);
    return static_cast<size_t>(info.st_blocks) * 512 / virtcft::kPageBytes;
  }

 private:
  size_t bytes_;
  std::string path_;
  uint8_t* map_;
};

class Guest {
 public:
  explicit Guest(const RamFile& ram) {
    int in[2], out[2];
    CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    pid_ = fork();
    CHECK(pid_ >= 0);
    if (pid_ == 0) {
      dup2(in[0], 0);
      dup2(out[1], 1);
      execl(GUEST, GUEST, ram.path().c_str(), nullptr);
      _exit(127);
    }
    close(in[0]);
    close(out[1]);
    to_ = in[1];
    from_ = out[0];
    ask("ticks");
  }
  ~Guest() {
    end();
    close(to_);
    close(from_);
  }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  int pid() const { return pid_; }
  void send(const std::string& command) { CHECK(write(to_, (command + "\n").c_str(), command.size() + 1) == static_cast<ssize_t>(command.size() + 1)); }
  /** The next answer within the time, else empty. */
  std::string answer(int limit_ms) {
    std::string line;
    for (;;) {
      pollfd ready{from_, POLLIN, 0};
      if (poll(&ready, 1, limit_ms) != 1) return "";
      char c;
      if (read(from_, &c, 1) != 1) return "";
      if (c == '\n') return line;
      line.push_back(c);
    }
  }
  std::string ask(const std::string& command) {
    send(command);
    const std::string line = answer(20000);
    CHECK(!line.empty());
    return line;
  }
  void end() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    int status = 0;
    CHECK(waitpid(pid_, &status, 0) == pid_);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);  // and had not ended by itself before
    pid_ = 0;
  }

 private:
  pid_t pid_;
  int to_;
  int from_;
};
