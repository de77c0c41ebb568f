// One domain held over one pair of pipes: a line of words asks, a line answers, bytes follow where the line says how many. Format: ../../docs/formats/xen-session.md.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "domain.h"
#include "domain_memory.h"
#include "hold.h"
#include "libraries.h"
#include "requests.h"

namespace virtcft::xen {

/** What is answered after `ok`: `key=value` words, and bytes. */
struct Reply {
  std::string words;
  Bytes payload;
};

class Session {
 public:
  explicit Session(const Xen& xen) : xen_(xen) {}
  /** A guest that stands for a capture runs again; a paused one stays. */
  ~Session();
  Reply answer(const Request& request);
  /** A condition that was not told yet: the domain ended, or is gone. */
  std::optional<Condition> news();

 private:
  Domain& domain() const;
  DomainMemory& memory() const;
  void take(uint32_t id, std::optional<uint64_t> known);
  void letGo();
  Reply attach(const std::string& name);
  Reply build(const std::string& name, uint64_t epoch, const Bytes& state);
  Reply capture(uint64_t epoch);

  const Xen& xen_;
  std::unique_ptr<Hold> hold_;
  std::unique_ptr<Domain> domain_;
  std::unique_ptr<DomainMemory> memory_;
  Bytes state_;  // of the last capture
  bool stands_ = false, paused_ = false;
  Condition told_ = Condition::kRunning;
};

/** Answers requests until the input ends. Exit code. */
int serve(const Xen& xen, int from, int to);

}  // namespace virtcft::xen
