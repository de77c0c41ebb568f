// What xl writes into xenstore for a guest's network interface, so that a restored guest finds its own again. Knows nothing of Xen.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace virtcft::xen {

/** An interface of a guest. */
struct Vif {
  /** In the guest's order, from 0; a guest that was captured knows it by this number. */
  uint32_t device = 0;
  std::string mac;
  /** Absolute path of the hotplug script in dom0. */
  std::string script;
};

/** A value, or a folder whose access is its own: `owner` may write it, `reader` may read it. */
struct VifNode {
  std::string path;
  std::string value;
  bool folder = false;
  uint32_t owner = 0, reader = 0;
};

/** Failure EINVAL where `mac` is no address as xl writes it, or `script` no absolute path without spaces. */
Vif checkedVif(uint32_t device, const std::string& mac, const std::string& script);

std::string vifFrontend(uint32_t domain, uint32_t device);
std::string vifBackend(uint32_t domain, uint32_t device);

/** All nodes of an interface whose two ends have not met yet, in an order in which they can be written: back end, front end, and what `xl destroy` goes by. */
std::vector<VifNode> vifNodes(uint32_t domain, const Vif& vif);

}  // namespace virtcft::xen
