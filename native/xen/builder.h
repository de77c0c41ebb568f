// Domains made and ended without xl: what a restore needs, and nothing else.
#pragma once
#include <string>

#include "device_state.h"
#include "domain_memory.h"
#include "libraries.h"

namespace virtcft::xen {

/**
 * A domain `name` with the memory of `epoch` and the rest of `state`; it is paused and has not run. Its number. Failures: ESTATE when there is a domain of that
 * name, EBADSTATE when memory and state are not of one guest, EXEN when Xen refuses (no room, a state it does not accept); nothing is left then.
 */
uint32_t buildDomain(const Xen& xen, const std::string& name, const DeviceState& state, const DomainMemory& memory, uint64_t epoch);

/** Ends the domain and takes its nodes out of xenstore. Nothing where it is gone. */
void destroyDomain(const Xen& xen, uint32_t id);

}  // namespace virtcft::xen
