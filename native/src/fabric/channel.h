#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "limits.h"

namespace virtcft::fabric {

/** Which sequence numbers of a channel came: finds duplicates, and whether all up to a number are there. */
class SequenceWindow {
 public:
  /** False for a number that came before, or is too old to tell. */
  bool Accept(uint64_t sequence);
  /** Every number up to `last` came, or was forgiven, or is older than the window. */
  bool Complete(uint64_t last) const;
  /** Gives up what is missing up to `last`. */
  void Forgive(uint64_t last);
  /** Numbers below the newest that have not come: lost, or overtaken on the way. */
  uint64_t missing() const { return highest_ - accepted_; }

 private:
  bool Has(uint64_t sequence) const { return (bits_[sequence / 64 % kWords] >> (sequence % 64) & 1) != 0; }
  static constexpr size_t kWords = kWindowFrames / 64;
  std::array<uint64_t, kWords> bits_{};
  uint64_t highest_ = 0;
  uint64_t accepted_ = 0;
  uint64_t forgiven_ = 0;
};

struct MarkerToSend {
  uint64_t cut = 0;
  uint64_t last = 0;
  int64_t since_us = 0;
  int64_t due_us = 0;
};

/** Both directions between this host and one peer, in one generation. No I/O, no clock of its own. */
class Channel {
 public:
  // Sending.
  uint64_t NextSequence() { return ++sent_; }
  /** All sent so far was sent at or before `cut`: from now on its marker is due until acknowledged. */
  void Cut(uint64_t cut, int64_t now_us);
  void Acknowledged(uint64_t cut);
  /** Markers to send now; their next repetition is set. */
  std::vector<MarkerToSend> DueMarkers(int64_t now_us);
  std::optional<int64_t> NextMarker() const;

  // Receiving.
  /** The first session heard is the sender's only one: a fabric opened anew belongs to another life, which the wiring names. */
  bool InSession(uint64_t session);
  bool Accept(uint64_t sequence) { return window_.Accept(sequence); }
  void MarkerSeen(uint64_t cut, uint64_t last, int64_t now_us);
  /**
   * Nothing of cut `cut` or before can come any more: its marker (or a later one) came, and all counted frames or the grace after it.
   * When it returns false and a marker is there, `*retry_us` is lowered to the end of the grace.
   */
  bool Closed(uint64_t cut, int64_t now_us, int64_t* retry_us);
  uint64_t missing() const { return window_.missing(); }

 private:
  struct Marker {
    uint64_t last;
    int64_t seen_us;
  };
  uint64_t sent_ = 0;
  std::vector<MarkerToSend> unacknowledged_;
  uint64_t session_ = 0;
  SequenceWindow window_;
  std::map<uint64_t, Marker> markers_;
};

}  // namespace virtcft::fabric
