// virtcft-xen: captures and restores PVH domains in dom0. A program of its own, because Xen's libraries end their process at some errors.
#include <fcntl.h>

#include <csignal>
#include <fstream>
#include <iterator>

#include "builder.h"
#include "failures.h"
#include "session.h"

using namespace virtcft;
using namespace virtcft::xen;

namespace {

constexpr const char* kUsage =
    "usage: virtcft-xen probe                                    what this host can do\n"
    "       virtcft-xen list                                     its domains, and which can be captured\n"
    "       virtcft-xen capture DOMAIN SECTION STATE             one capture of a running domain into two files; it runs on\n"
    "       virtcft-xen restore NAME SECTION STATE               a domain of these two files, running\n"
    "       virtcft-xen abandoned                                lets guests run that a killed capture left standing\n"
    "       virtcft-xen serve                                    requests on standard input (docs/formats/xen-session.md)\n";

Bytes fileAt(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) failWith(virtcft::code::kIo, "read " + path);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

void write(const std::string& path, const Bytes& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) failWith(virtcft::code::kIo, "write " + path);
}

int probe(const Xen& xen) {
  std::printf("xen=%s\n", xen.version.c_str());
  std::printf("pvh=%s\n", xen.capabilities.find("hvm-3.0-x86_64") != std::string::npos ? "yes" : "no: this processor or machine offers no hardware virtualization");
  std::printf("pv=no: its pages can be logged only by a Xen with shadow paging, and are not captured by this version\n");
  return 0;
}

int list(const Xen& xen) {
  for (const DomainInfo& info : listDomains(xen)) {
    std::string verdict = "yes";
    try {
      Domain domain(xen, info.id);
    } catch (const Failure& failure) {
      verdict = std::string("no: ") + failure.what();
    }
    std::printf("domain=%u name=%s condition=%s paused=%d vcpus=%u memory_kib=%lu capture=%s\n", info.id, info.name.c_str(), nameOf(info.condition), info.paused, info.vcpus, info.memory_kib, verdict.c_str());
  }
  return 0;
}

int capture(const Xen& xen, const std::string& name, const std::string& section, const std::string& state) {
  Session session(xen);
  session.answer({{"attach", name}, {}});
  for (int round = 0; round < 3; round++) session.answer({{"precopy"}, {}});
  std::string said = session.answer({{"suspend", std::to_string(limits::kSuspendPatience_ms)}, {}}).words;
  said += " " + session.answer({{"capture", "1"}, {}}).words;
  session.answer({{"resume"}, {}});
  write(state, session.answer({{"state"}, {}}).payload);
  write(section, session.answer({{"encode", "1"}, {}}).payload);
  std::printf("%s\n", said.c_str());
  return 0;
}

int restore(const Xen& xen, const std::string& name, const std::string& section, const std::string& state) {
  const Bytes bytes = fileAt(state);
  const DeviceState read = DeviceState::read(bytes);
  DomainMemory memory(read.pages);
  memory.beginFill(1);
  memory.supply(fileAt(section));
  memory.endFill();
  const uint32_t id = buildDomain(xen, name, read, memory, 1);
  if (xen.lib.xc_domain_unpause(xen.control, id) != 0) refused("let the domain run");
  std::printf("domain=%u\n", id);
  return 0;
}

int abandoned(const Xen& xen) {
  for (const Abandoned& domain : releaseAbandoned(xen)) std::printf("domain=%u name=%s %s\n", domain.id, domain.name.c_str(), domain.found.c_str());
  return 0;
}

}  // namespace

int main(int count, char** words) {
  const std::vector<std::string> given(words + 1, words + count);
  const std::string command = given.empty() ? "" : given[0];
  const size_t wanted = command == "capture" || command == "restore" ? 4 : 1;
  static const std::string commands[] = {"probe", "list", "capture", "restore", "abandoned", "serve"};
  if (given.size() != wanted || std::find(std::begin(commands), std::end(commands), command) == std::end(commands)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);
  try {
    const Xen xen;
    if (command == "probe") return probe(xen);
    if (command == "list") return list(xen);
    if (command == "capture") return capture(xen, given[1], given[2], given[3]);
    if (command == "restore") return restore(xen, given[1], given[2], given[3]);
    if (command == "abandoned") return abandoned(xen);
    return serve(xen, STDIN_FILENO, STDOUT_FILENO);
  } catch (const Failure& failure) {
    std::fprintf(stderr, "virtcft-xen: %s: %s\n", failure.code(), failure.what());
    return 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "virtcft-xen: %s\n", error.what());
    return 1;
  }
}
