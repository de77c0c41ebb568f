#include "channel.h"

#include <algorithm>

namespace virtcft::fabric {

bool SequenceWindow::Accept(uint64_t sequence) {
  if (sequence > highest_) {
    const uint64_t from = sequence - highest_ >= kWindowFrames ? sequence - kWindowFrames + 1 : highest_ + 1;
    for (uint64_t s = from; s < sequence; s++) bits_[s / 64 % kWords] &= ~(uint64_t{1} << (s % 64));
    bits_[sequence / 64 % kWords] |= uint64_t{1} << (sequence % 64);
    highest_ = sequence;
    accepted_++;
    return true;
  }
  if (sequence == 0 || highest_ - sequence >= kWindowFrames || Has(sequence)) return false;
  bits_[sequence / 64 % kWords] |= uint64_t{1} << (sequence % 64);
  accepted_++;
  return true;
}

bool SequenceWindow::Complete(uint64_t last) const {
  const uint64_t oldest = highest_ >= kWindowFrames ? highest_ - kWindowFrames : 0;
  const uint64_t known = std::max(forgiven_, oldest);
  if (last <= known) return true;
  if (last > highest_) return false;
  for (uint64_t s = known + 1; s <= last; s++) {
    if (!Has(s)) return false;
  }
  return true;
}

void SequenceWindow::Forgive(uint64_t last) { forgiven_ = std::max(forgiven_, last); }

void Channel::Cut(uint64_t cut, int64_t now_us) {
  unacknowledged_.push_back({cut, sent_, now_us, now_us});
  if (unacknowledged_.size() > kMarkersKept) unacknowledged_.erase(unacknowledged_.begin());
}

void Channel::Acknowledged(uint64_t cut) {
  std::erase_if(unacknowledged_, [cut](const MarkerToSend& marker) { return marker.cut == cut; });
}

std::vector<MarkerToSend> Channel::DueMarkers(int64_t now_us) {
  std::vector<MarkerToSend> due;
  for (MarkerToSend& marker : unacknowledged_) {
    if (marker.due_us > now_us) continue;
    due.push_back(marker);
    marker.due_us = now_us + (now_us - marker.since_us < kMarkerEagerUs ? kMarkerRepeatUs : kMarkerSlowUs);
  }
  return due;
}

std::optional<int64_t> Channel::NextMarker() const {
  std::optional<int64_t> next;
  for (const MarkerToSend& marker : unacknowledged_) next = std::min(next.value_or(marker.due_us), marker.due_us);
  return next;
}

bool Channel::InSession(uint64_t session) {
  if (session_ == 0) session_ = session;
  return session == session_;
}

void Channel::MarkerSeen(uint64_t cut, uint64_t last, int64_t now_us) {
  markers_.try_emplace(cut, Marker{last, now_us});
  while (markers_.size() > kOpenCuts) markers_.erase(markers_.begin());
}

bool Channel::Closed(uint64_t cut, int64_t now_us, int64_t* retry_us) {
  const auto marker = markers_.lower_bound(cut);
  if (marker == markers_.end()) return false;
  if (window_.Complete(marker->second.last)) return true;
  const int64_t end_us = marker->second.seen_us + kChannelGraceUs;
  if (now_us >= end_us) {
    window_.Forgive(marker->second.last);
    return true;
  }
  *retry_us = std::min(*retry_us, end_us);
  return false;
}

}  // namespace virtcft::fabric
