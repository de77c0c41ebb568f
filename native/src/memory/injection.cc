#include "injection.h"

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "descriptor.h"
#include "failure.h"

namespace virtcft {

#if !defined(__x86_64__)

long callInside(int, long, long, long, long) {
  throw Failure(code::kNoTracker, "dirty tracking from outside is built for x86-64 only: use the tracker `compare`");
}

#else

namespace {

constexpr auto kStopLimit = std::chrono::seconds(2);  // a thread in uninterruptible sleep must not hold us for ever

/**
 * A thread other than the leader where there is one: the leader's ptrace stops could be taken by a parent that waits for its child (the agent's
 * own event loop, which would think that the hypervisor has exited).
 */
int chooseThread(int pid) {
  const std::string folder = "/proc/" + std::to_string(pid) + "/task";
  DIR* tasks = ::opendir(folder.c_str());
  if (!tasks) failWith(code::kProcess, "list threads of process " + std::to_string(pid));
  int chosen = pid;
  while (const dirent* entry = ::readdir(tasks)) {
    const int tid = std::atoi(entry->d_name);
    if (tid > 0 && tid != pid) {
      chosen = tid;
      break;
    }
  }
  ::closedir(tasks);
  return chosen;
}

/** Address of a `syscall` instruction in the process's vDSO. */
uint64_t findSyscallInstruction(int pid) {
  const std::string proc = "/proc/" + std::to_string(pid);
  std::ifstream maps(proc + "/maps");
  std::string line;
  while (std::getline(maps, line)) {
    uint64_t start = 0, end = 0;
    if (line.find("[vdso]") == std::string::npos || std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64, &start, &end) != 2) continue;
    const Descriptor memory(::open((proc + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
    if (!memory) failWith(code::kNoTracker, "open the memory of process " + std::to_string(pid) + " (root or CAP_SYS_PTRACE is needed)");
    std::vector<uint8_t> text(end - start);
    const ssize_t got = ::pread(memory.get(), text.data(), text.size(), static_cast<off_t>(start));
    for (ssize_t i = 0; i + 1 < got; i++) {
      if (text[static_cast<size_t>(i)] == 0x0f && text[static_cast<size_t>(i) + 1] == 0x05) return start + static_cast<uint64_t>(i);
    }
  }
  throw Failure(code::kNoTracker, "process " + std::to_string(pid) + " has no vDSO with a system call instruction");
}

/** A thread held by ptrace; let go in any case. */
class Held {
 public:
  explicit Held(int tid) : tid_(tid) {
    if (::ptrace(PTRACE_SEIZE, tid_, nullptr, reinterpret_cast<void*>(PTRACE_O_TRACESYSGOOD)) != 0) {
      failWith(code::kNoTracker, "trace thread " + std::to_string(tid_) + " of the hypervisor (root or CAP_SYS_PTRACE is needed)");
    }
    check(::ptrace(PTRACE_INTERRUPT, tid_, nullptr, nullptr), "interrupt");
    for (;;) {
      const int status = wait();
      if (status >> 16 == PTRACE_EVENT_STOP) return;
      // A signal came first: hand it over and go on to our stop.
      check(::ptrace(PTRACE_CONT, tid_, nullptr, reinterpret_cast<void*>(static_cast<intptr_t>(WSTOPSIG(status)))), "continue");
    }
  }
  ~Held() { ::ptrace(PTRACE_DETACH, tid_, nullptr, nullptr); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  user_regs_struct registers() const {
    user_regs_struct registers{};
    iovec io{&registers, sizeof registers};
    check(::ptrace(PTRACE_GETREGSET, tid_, reinterpret_cast<void*>(NT_PRSTATUS), &io), "read registers of");
    return registers;
  }
  void setRegisters(user_regs_struct registers) const {
    iovec io{&registers, sizeof registers};
    check(::ptrace(PTRACE_SETREGSET, tid_, reinterpret_cast<void*>(NT_PRSTATUS), &io), "write registers of");
  }
  uint64_t signalMask() const {
    uint64_t mask = 0;
    check(::ptrace(PTRACE_GETSIGMASK, tid_, reinterpret_cast<void*>(sizeof mask), &mask), "read the signal mask of");
    return mask;
  }
  void setSignalMask(uint64_t mask) const {
    check(::ptrace(PTRACE_SETSIGMASK, tid_, reinterpret_cast<void*>(sizeof mask), &mask), "set the signal mask of");
  }
  /** Runs to the next entry to, or exit from, a system call. */
  void runToSyscallStop() const {
    for (;;) {
      check(::ptrace(PTRACE_SYSCALL, tid_, nullptr, nullptr), "run");
      const int status = wait();
      if (WSTOPSIG(status) == (SIGTRAP | 0x80)) return;  // any other stop is a group stop: signals are blocked
    }
  }

 private:
  void check(long result, const char* what) const {
    if (result != 0) failWith(code::kNoTracker, std::string(what) + " a traced thread of the hypervisor");
  }
  /** The status of the next stop. */
  int wait() const {
    const auto limit = std::chrono::steady_clock::now() + kStopLimit;
    for (;;) {
      int status = 0;
      const pid_t got = ::waitpid(tid_, &status, __WALL | WNOHANG);
      if (got < 0 && errno != EINTR) failWith(code::kProcess, "wait for a traced thread of the hypervisor");
      if (got == tid_) {
        if (!WIFSTOPPED(status)) throw Failure(code::kProcess, "the hypervisor exited while it was traced");
        return status;
      }
      if (std::chrono::steady_clock::now() > limit) {
        throw Failure(code::kNoTracker, "thread " + std::to_string(tid_) + " of the hypervisor does not stop: use the tracker `compare`");
      }
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }
  int tid_;
};

/** The registers with which a thread that was stopped inside a system call takes it up again, as the kernel would have done. */
user_regs_struct resumed(user_regs_struct registers) {
  constexpr long kRestartSys = -512, kRestartNoIntr = -513, kRestartNoHand = -514, kRestartBlock = -516;
  const long result = static_cast<long>(registers.rax);
  if (static_cast<long>(registers.orig_rax) >= 0) {
    if (result == kRestartSys || result == kRestartNoIntr || result == kRestartNoHand) {
      registers.rax = registers.orig_rax;
      registers.rip -= 2;
    } else if (result == kRestartBlock) {
      registers.rax = 219;  // restart_syscall: goes on with what was left of the time-out
      registers.rip -= 2;
    }
  }
  registers.orig_rax = ~0ull;  // no second restart
  return registers;
}

}  // namespace

long callInside(int pid, long number, long a, long b, long c) {
  const uint64_t instruction = findSyscallInstruction(pid);
  const Held thread(chooseThread(pid));
  const user_regs_struct before = thread.registers();
  const uint64_t mask = thread.signalMask();
  thread.setSignalMask(~0ull);
  user_regs_struct call = before;
  call.orig_rax = ~0ull;
  call.rip = instruction;
  call.rax = static_cast<unsigned long long>(number);
  call.rdi = static_cast<unsigned long long>(a);
  call.rsi = static_cast<unsigned long long>(b);
  call.rdx = static_cast<unsigned long long>(c);
  thread.setRegisters(call);
  thread.runToSyscallStop();
  thread.runToSyscallStop();
  const long result = static_cast<long>(thread.registers().rax);
  thread.setRegisters(resumed(before));
  thread.setSignalMask(mask);
  return result;
}

#endif

}  // namespace virtcft
