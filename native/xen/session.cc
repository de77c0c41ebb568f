#include "session.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>

#include "builder.h"
#include "failures.h"
#include "vif.h"

namespace virtcft::xen {

namespace {

using Clock = std::chrono::steady_clock;

std::string pair(const char* key, uint64_t value) { return std::string(key) + "=" + std::to_string(value); }

int64_t microsecondsSince(Clock::time_point start) { return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count(); }

}  // namespace

Session::~Session() {
  try {
    letGo();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "virtcft-xen: %s; `virtcft-xen abandoned` frees the domain\n", error.what());
  }
}

void Session::letGo() {
  if (domain_) {
    if (!paused_) domain_->resume();
    domain_->forgetWrites();
  }
  domain_.reset();
  hold_.reset();
  stands_ = paused_ = false;
}

Domain& Session::domain() const {
  if (!domain_) throw Failure(virtcft::code::kState, "no domain is held: `attach` or `build` comes first");
  return *domain_;
}

DomainMemory& Session::memory() const {
  if (!memory_) throw Failure(virtcft::code::kState, "no memory is held: `attach` or `fill` comes first");
  return *memory_;
}

void Session::take(uint32_t id, std::optional<uint64_t> known) {
  auto hold = std::make_unique<Hold>(xen_, id);
  auto domain = std::make_unique<Domain>(xen_, id);
  if (!memory_) memory_ = std::make_unique<DomainMemory>(domain->map().pages);
  if (memory_->pages() != domain->map().pages) throw Failure(virtcft::code::kState, "the domain's memory is not as large as what is held");
  domain->watchWrites();
  memory_->follow(*domain, known);
  domain_ = std::move(domain);
  hold_ = std::move(hold);
  told_ = Condition::kRunning;
}

Reply Session::attach(const std::string& name) {
  if (domain_ || memory_) throw Failure(virtcft::code::kState, "a domain is held already: a session is for one");
  const DomainInfo info = findDomain(xen_, name);
  take(info.id, std::nullopt);
  return {pair("domain", info.id) + " " + pair("pages", memory_->pages()) + " " + pair("vcpus", info.vcpus) + " " + pair("paused", info.paused) + " condition=" + nameOf(info.condition), {}};
}

Reply Session::build(const std::string& name, uint64_t epoch, const Bytes& bytes) {
  const auto start = Clock::now();
  const DeviceState state = DeviceState::read(bytes);
  memory().rollback(epoch);
  if (domain_) {
    const uint32_t old = domain_->id();
    domain_.reset();
    hold_.reset();
    destroyDomain(xen_, old);
  }
  stands_ = paused_ = false;
  const uint32_t id = buildDomain(xen_, name, state, memory(), epoch);
  take(id, epoch);
  return {pair("domain", id) + " " + pair("build_us", static_cast<uint64_t>(microsecondsSince(start))), {}};
}

Reply Session::capture(uint64_t epoch) {
  if (domain().condition() == Condition::kGone) throw Failure(code::kNoDomain, "the domain is gone");
  const CopiedPages copied = memory().capture(epoch);
  const auto start = Clock::now();
  state_ = domain().state(memory().present()).write();
  return {pair("pages", copied.pages) + " " + pair("scan_us", static_cast<uint64_t>(copied.scan_us)) + " " + pair("copy_us", static_cast<uint64_t>(copied.copy_us)) + " " +
              pair("state_us", static_cast<uint64_t>(microsecondsSince(start))),
          {}};
}

std::optional<Condition> Session::news() {
  if (!domain_) return std::nullopt;
  const Condition now = domain_->condition();
  if (now == Condition::kRunning || now == Condition::kSuspended || now == told_) return std::nullopt;
  return told_ = now;
}

Reply Session::answer(const Request& request) {
  const auto& words = request.words;
  const auto word = [&](size_t at) -> const std::string& {
    if (at >= words.size()) throw Failure(virtcft::code::kInvalid, words[0] + " takes more words");
    return words[at];
  };
  const auto epoch = [&] { return wholeNumber(word(1)); };
  const std::map<std::string, std::function<Reply()>> commands{
      {"attach", [&] { return attach(word(1)); }},
      {"fill", [&]() -> Reply {
         if (domain_ || memory_) throw Failure(virtcft::code::kState, "memory is held already: a session is for one domain");
         const uint64_t pages = wholeNumber(word(1));
         if (pages == 0 || pages > kMaxPages) throw Failure(virtcft::code::kInvalid, "a memory of " + word(1) + " pages");
         memory_ = std::make_unique<DomainMemory>(pages);
         memory_->beginFill(wholeNumber(word(2)));
         return {};
       }},
      {"supply", [&]() -> Reply { return {pair("pages", memory().supply(request.payload)), {}}; }},
      {"filled", [&]() -> Reply { memory().endFill(); return {}; }},
      {"build", [&] { return build(word(1), wholeNumber(word(2)), request.payload); }},
      {"vif", [&]() -> Reply {
         const Vif vif = checkedVif(static_cast<uint32_t>(wholeNumber(word(1))), word(2), word(3));
         return {"device=" + plugVif(xen_, domain().id(), vif), {}};
       }},
      {"unpause", [&]() -> Reply {
         if (xen_.lib.xc_domain_unpause(xen_.control, domain().id()) != 0) refused("let the domain run");
         return {};
       }},
      {"precopy", [&]() -> Reply { return {pair("pages", memory().precopy().pages), {}}; }},
      {"suspend", [&]() -> Reply {
         const auto start = Clock::now();
         const bool pause = words.size() > 2 && word(2) == "paused";
         if (!pause) hold_->stage(HoldStage::kStopping);
         try {
           domain().suspend(static_cast<int>(std::min<uint64_t>(wholeNumber(word(1)), limits::kMostPatience_ms)));
         } catch (...) {
           hold_->stage(HoldStage::kRunning);
           throw;
         }
         if (pause) hold_->stage(HoldStage::kPaused);
         paused_ = pause;
         return {pair("suspend_us", static_cast<uint64_t>(microsecondsSince(start))) + " condition=" + nameOf(domain().condition()), {}};
       }},
      {"capture", [&] { return capture(epoch()); }},
      {"resume", [&]() -> Reply {
         domain().resume();
         paused_ = false;
         hold_->stage(HoldStage::kRunning);
         return {};
       }},
      {"state", [&]() -> Reply { return {{}, state_}; }},
      {"encode", [&]() -> Reply {
         const auto start = Clock::now();
         EncodedPages encoded = memory().encode(words.size() > 2 ? std::optional(wholeNumber(word(2))) : std::nullopt, epoch());
         return {pair("pages", encoded.pages) + " " + pair("encode_us", static_cast<uint64_t>(microsecondsSince(start))), std::move(encoded.section)};
       }},
      {"fold", [&]() -> Reply { return {pair("pages", memory().fold(epoch())), {}}; }},
      {"compare", [&]() -> Reply {
         const Compared compared = memory().compare(epoch());
         return {pair("differing", compared.differing) + (compared.first ? " " + pair("first", *compared.first) : ""), {}};
       }},
      {"digest", [&]() -> Reply { return {"digest=" + memory().digest(epoch()), {}}; }},
      {"held", [&]() -> Reply {
         const auto held = memory().held();
         return {pair("base_bytes", held.base_bytes) + " " + pair("layer_bytes", held.layer_bytes) + " " + pair("layers", held.layers), {}};
       }},
      {"destroy", [&]() -> Reply {
         const uint32_t id = domain().id();
         domain_.reset();
         hold_.reset();
         destroyDomain(xen_, id);
         return {};
       }},
  };
  const auto command = commands.find(words[0]);
  if (command == commands.end()) throw Failure(virtcft::code::kInvalid, "no such request: " + words[0]);
  return command->second();
}

namespace {

bool say(int to, const std::string& line, const Bytes& payload = {}) {
  const auto all = [to](const void* from, size_t bytes) {
    const auto* at = static_cast<const char*>(from);
    while (bytes > 0) {
      const ssize_t written = ::write(to, at, bytes);
      if (written < 0 && errno != EINTR) return false;
      if (written > 0) {
        at += written;
        bytes -= static_cast<size_t>(written);
      }
    }
    return true;
  };
  return all(line.data(), line.size()) && all(payload.data(), payload.size());
}

}  // namespace

int serve(const Xen& xen, int from, int to) {
  Session session(xen);
  RequestReader requests(from);
  xen.lib.xs_watch(xen.store, "@releaseDomain", "virtcft-session");
  if (!say(to, "ok virtcft-xen=1 pid=" + std::to_string(::getpid()) + " xen=" + xen.version + "\n")) return 0;
  for (;;) {
    if (const auto condition = session.news()) {
      if (!say(to, std::string("event condition=") + nameOf(*condition) + "\n")) return 0;
    }
    pollfd waiting[2] = {{from, POLLIN, 0}, {xen.lib.xs_fileno(xen.store), POLLIN, 0}};
    if (!requests.begun() && ::poll(waiting, 2, -1) < 0 && errno != EINTR) return 1;
    while (char** event = xen.lib.xs_check_watch(xen.store)) ::free(event);
    if (!requests.begun() && waiting[0].revents == 0) continue;
    std::string refusal;
    try {
      const auto request = requests.next();
      if (!request) return 0;
      const Reply reply = session.answer(*request);
      if (!say(to, "ok" + (reply.words.empty() ? "" : " " + reply.words) + (reply.payload.empty() ? "" : " bytes=" + std::to_string(reply.payload.size())) + "\n", reply.payload)) return 0;
      continue;
    } catch (const Failure& failure) {
      refusal = std::string(failure.code()) + " " + failure.what();
    } catch (const std::bad_alloc&) {
      refusal = std::string(virtcft::code::kNoMemory) + " no memory";
    }
    std::replace(refusal.begin(), refusal.end(), '\n', ' ');
    if (!say(to, "error " + refusal + "\n")) return 0;
  }
}

}  // namespace virtcft::xen
