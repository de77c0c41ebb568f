// Every bound of the Xen side, with its reason.
#pragma once
#include <cstddef>
#include <cstdint>

namespace virtcft::xen::limits {

/** Below the hole that a PVH guest has under 4 GiB; what is beyond lies from 4 GiB on (libxl's HVM_BELOW_4G_RAM_END). */
inline constexpr uint64_t kLowPages = 0xf0000;
inline constexpr uint64_t kHighFirst = 0x100000;
/** Xen's own pages of a PVH guest and its ACPI tables begin here. To look at the whole hole takes seconds under emulation. */
inline constexpr uint64_t kSpecialFirst = 0xfc000;
/** Pages outside RAM travel in the device state: a PVH guest has 8 for Xen's own use and a few of ACPI tables. More is a guest that we do not know. */
inline constexpr size_t kMostSpecialPages = 1024;
/** Pages named in one call to Xen: libxenguest's own batch. */
inline constexpr size_t kBatchPages = 1024;
/** HVM context of 128 vCPUs, twice. */
inline constexpr uint32_t kMostRecordBytes = 8u << 20;
/** A segment's device state is at most 64 MiB. */
inline constexpr size_t kMostStateBytes = 64u << 20;
/** Runs of RAM that exist: a guest that balloons page by page has many. */
inline constexpr uint32_t kMostRanges = 1u << 18;
inline constexpr uint32_t kMostVcpus = 128;
/** A guest's own suspend takes milliseconds, a fifth of a second under emulation; one that does not answer for this long has no Xen drivers, or hangs. */
inline constexpr int kSuspendPatience_ms = 30'000;
/** What a session may ask for. */
inline constexpr uint64_t kMostPatience_ms = 600'000;
/** A killed capture's guest that is already on its way into its suspend. */
inline constexpr int kAbandonedPatience_ms = 10'000;
/** Until dom0's kernel has made a back end for an interface: milliseconds, a second under emulation. */
inline constexpr int kBackendPatience_ms = 30'000;
/** A hotplug script runs some ten programs, and waits itself for what it ties. */
inline constexpr int kScriptPatience_ms = 60'000;
/** A line of the session: a command, two names and two numbers. */
inline constexpr size_t kMostLineBytes = 1024;
/** Bytes after a line: a section of the pages of a whole small guest, or a device state. */
inline constexpr size_t kMostPayloadBytes = size_t{1} << 30;

}  // namespace virtcft::xen::limits
