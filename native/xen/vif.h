// A guest's network interfaces at a restore: their ends in xenstore, the back end's device, the hotplug script that ties it to what carries its frames.
#pragma once
#include "libraries.h"
#include "vif_nodes.h"

namespace virtcft::xen {

/**
 * Gives a domain that has not run since it was built an interface; the name of its device in dom0. Failure EXEN when no back end comes (xen-netback) or the script
 * does not tie it, with what it says.
 */
std::string plugVif(const Xen& xen, uint32_t domain, const Vif& vif);

/** Runs the scripts of a domain's interfaces a last time, before their nodes go. */
void unplugVifs(const Xen& xen, uint32_t domain);

}  // namespace virtcft::xen
