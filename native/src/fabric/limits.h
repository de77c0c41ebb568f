#pragma once

#include <cstddef>
#include <cstdint>

namespace virtcft::fabric {

/** Jumbo frames; above it a tunnel datagram would need seven fragments and more. */
constexpr size_t kMaxMtu = 9000;
/** Frames taken from one socket at a time: long enough to amortise the call, short enough that no port starves another. */
constexpr size_t kBatchFrames = 64;
/** Socket buffers; a tunnel peer that sends for 50 ms at 1 Gbit/s fits. */
constexpr int kSocketBufferBytes = 8 << 20;
/** What a cut may hold back between hold and release: at it ports are no longer read and tunnel input is dropped and counted. */
constexpr size_t kHeldBytes = 32u << 20;
/** Frames of newer colours that wait for the own flip: a host that is late by some 100 ms at 1 Gbit/s. */
constexpr size_t kEarlyBytes = 32u << 20;
/** Channel state of one cut; beyond it a frame is not logged (a retransmit after a restore), and counted. */
constexpr size_t kLogBytes = 32u << 20;
/** Cuts that may wait for their channels at once; W is 2 by default, more is aborted epochs nobody asked for. */
constexpr size_t kOpenCuts = 16;
/** The tunnels' secret: at least one key's worth of bytes, and a file that holds more than this is not one. */
constexpr size_t kLeastSecretBytes = 32;
constexpr size_t kMostSecretBytes = 4096;
/** While output is throttled each port's allowance is refilled this often: a few frames' time, no guest sees a long stop. */
constexpr int64_t kThrottleUs = 10'000;
/** ... with this share of the room that is left: what is held then comes nearer to the bound by 1 - 1/e in 0.64 s, a few commits' time. */
constexpr size_t kThrottleShare = 64;
/** Frames written to a TAP that may lie unread in the kernel: its backlog of input, net.core.netdev_max_backlog. */
constexpr size_t kTapHandedFrames = 1024;
/** Frames that wait for the tunnel socket, when the kernel's buffer is full. */
constexpr size_t kTunnelQueueFrames = 8192;
/** Sequence numbers a channel remembers, for duplicates and completeness. */
constexpr uint64_t kWindowFrames = 4096;
/** A host proves itself alive to its peers this often. */
constexpr int64_t kHelloUs = 50'000;
/** A marker is repeated this often until acknowledged ... */
constexpr int64_t kMarkerRepeatUs = 3'000;
/** ... and after `kMarkerEagerUs` of silence only this often: the peer is down or stuck. */
constexpr int64_t kMarkerSlowUs = 50'000;
constexpr int64_t kMarkerEagerUs = 200'000;
/** Unacknowledged markers kept per peer; a newer marker closes the older cuts too. */
constexpr size_t kMarkersKept = 4;
/** After the marker only frames that the network reordered can still come. */
constexpr int64_t kChannelGraceUs = 5'000;
/** Frames given to a hypervisor this recently may lie in its own one-frame queue (it stops reading while its VM is stopped). */
constexpr int64_t kHandedUs = 20'000;
/** A port whose hypervisor is not there is tried again this often, when it holds injected frames. */
constexpr int64_t kPortRetryUs = 5'000;
/** Events about the same foreign generation of the same host come at most this often. */
constexpr int64_t kForeignEventUs = 1'000'000;
/** ... and of so many generations of one host in that time. */
constexpr size_t kForeignEvents = 8;

}  // namespace virtcft::fabric
