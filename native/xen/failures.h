// Errors of the Xen side beside those of the memory core; the code says what the caller should do.
#pragma once
#include <string>

#include "../src/memory/failure.h"

namespace virtcft::xen {

namespace code {
inline constexpr const char* kNoXen = "ENOXEN";            // not a Xen dom0, or its libraries are missing: install them, or run elsewhere
inline constexpr const char* kVersion = "EVERSION";        // Xen or a library is of another version than this program: build it for that one
inline constexpr const char* kNoDomain = "ENODOMAIN";      // there is no such domain
inline constexpr const char* kDomain = "EDOMAIN";          // a domain that cannot be protected, and why
inline constexpr const char* kSuspend = "ESUSPEND";        // the guest did not suspend; it runs on
inline constexpr const char* kBadState = "EBADSTATE";      // a device state that is damaged, hostile or of another guest
inline constexpr const char* kXen = "EXEN";                // Xen refused a call
}  // namespace code

[[noreturn]] inline void badState(const std::string& what) { throw Failure(code::kBadState, "device state refused: " + what); }

}  // namespace virtcft::xen
