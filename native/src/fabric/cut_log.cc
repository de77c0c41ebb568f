#include "cut_log.h"

#include <algorithm>

#include "limits.h"

namespace virtcft::fabric {

void CutLog::Open(uint64_t first, uint64_t last) {
  if (last - first >= kOpenCuts) first = last - kOpenCuts + 1;
  for (uint64_t cut = first; cut <= last; cut++) cuts_.try_emplace(cut);
  while (cuts_.size() > kOpenCuts) cuts_.erase(cuts_.begin());
}

size_t CutLog::Log(uint64_t first, uint64_t last, Mac nic, const FrameRef& frame) {
  size_t logged = 0;
  for (auto it = cuts_.lower_bound(first); it != cuts_.end() && it->first <= last; ++it) {
    Cut& cut = it->second;
    if (cut.bytes + frame->size() > kLogBytes) {
      overflowed_++;
      continue;
    }
    cut.bytes += frame->size();
    cut.frames.push_back({nic, frame});
    logged++;
  }
  return logged;
}

std::vector<LoggedFrame> CutLog::Take(uint64_t cut) {
  const auto it = cuts_.find(cut);
  if (it == cuts_.end()) return {};
  std::vector<LoggedFrame> frames = std::move(it->second.frames);
  cuts_.erase(it);
  return frames;
}

}  // namespace virtcft::fabric
