#include "vif_nodes.h"

#include "failures.h"

namespace virtcft::xen {

namespace {

constexpr uint32_t kDom0 = 0;
// xenbus states: of an end that is there and has done nothing yet.
constexpr const char* kInitialising = "1";

std::string text(uint32_t number) { return std::to_string(number); }

}  // namespace

Vif checkedVif(uint32_t device, const std::string& mac, const std::string& script) {
  bool good = mac.size() == 17;
  for (size_t i = 0; good && i < mac.size(); i++) good = i % 3 == 2 ? mac[i] == ':' : std::string("0123456789abcdef").find(mac[i]) != std::string::npos;
  if (!good) throw Failure(virtcft::code::kInvalid, "not an address of a network interface: " + mac);
  if (script.empty() || script.front() != '/' || script.find_first_of(" \n") != std::string::npos) throw Failure(virtcft::code::kInvalid, "not the absolute path of a hotplug script: " + script);
  return {device, mac, script};
}

std::string vifFrontend(uint32_t domain, uint32_t device) { return "/local/domain/" + text(domain) + "/device/vif/" + text(device); }
std::string vifBackend(uint32_t domain, uint32_t device) { return "/local/domain/0/backend/vif/" + text(domain) + "/" + text(device); }

std::vector<VifNode> vifNodes(uint32_t domain, const Vif& vif) {
  const std::string front = vifFrontend(domain, vif.device), back = vifBackend(domain, vif.device), own = "/libxl/" + text(domain) + "/device/vif/" + text(vif.device);
  const std::vector<std::pair<std::string, std::string>> behind{
      {"frontend", front}, {"frontend-id", text(domain)}, {"online", "1"}, {"state", kInitialising}, {"script", vif.script},
      {"mac", vif.mac},    {"handle", text(vif.device)},  {"type", "vif"}};
  std::vector<VifNode> nodes;
  const auto value = [&nodes](const std::string& path, const std::string& is) { nodes.push_back({path, is, false, 0, 0}); };
  // Each end is written by its own side and read by the other.
  nodes.push_back({back, "", true, kDom0, domain});
  for (const auto& [key, is] : behind) value(back + "/" + key, is);
  nodes.push_back({front, "", true, domain, kDom0});
  for (const auto& [key, is] : std::vector<std::pair<std::string, std::string>>{{"backend", back}, {"backend-id", text(kDom0)}, {"state", kInitialising}, {"handle", text(vif.device)}, {"mac", vif.mac}}) value(front + "/" + key, is);
  nodes.push_back({own, "", true, kDom0, kDom0});
  value(own + "/frontend", front);
  value(own + "/backend", back);
  for (const auto& [key, is] : behind) {
    if (key != "frontend") value(own + "/" + key, is);
  }
  return nodes;
}

}  // namespace virtcft::xen
