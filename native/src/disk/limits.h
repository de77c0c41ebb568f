// Every limit of a disk and of its server, with its reason.
#pragma once
#include <cstddef>

#include "../memory/page.h"

namespace virtcft {

/** A version of a block lies in one of these; base, layers and open layer can each hold one of the same block. */
inline constexpr size_t kMostPlanes = 64;
inline constexpr size_t kMostLayers = kMostPlanes - 2;  // so that a block always finds a plane, beside the base's and the open layer's
/** Planes are made up to here to keep a run of blocks in one piece; beyond, only when a block has no other place. */
inline constexpr size_t kEasyPlanes = 4;

/**
 * Room that freed versions may keep in the files, for the next versions of the same blocks, before it is given back (a call for each run): as much as
 * the disk, within these. A disk that has no room gives all of it back first.
 */
inline constexpr size_t kStaleLeastBlocks = (64u << 20) / kPageBytes;
inline constexpr size_t kStaleMostBlocks = (4096ull << 20) / kPageBytes;

/** Only this part of it is given back at a time: what a writer is about to use again must not be taken from it. */
inline constexpr size_t kStaleSlack = 8;

inline constexpr size_t kReleasedMost = 1u << 20;  // freed runs of a plane remembered to be given back: 12 MiB; what is forgotten is found at the next start

/** Growth of the journal beyond twice its rewritten size until it is rewritten. */
inline constexpr size_t kJournalGrowthBytes = 8u << 20;
/** The journal's room is taken ahead, so that a full disk refuses a write before anything has changed. */
inline constexpr size_t kJournalAheadBytes = 1u << 20;

/** Blocks whose places change while the lock is held once by work that the guest does not wait for: some 20 microseconds. */
inline constexpr size_t kBlocksPerTurn = 4096;
inline constexpr size_t kPieceBlocks = 256;  // 1 MiB per read of encode and digest

inline constexpr size_t kMostRequestBytes = 32u << 20;  // what QEMU's client takes as the most anyway
inline constexpr size_t kMostOptionBytes = 8192;        // a name of 4096 bytes, the most by the protocol, and a list of requests
inline constexpr size_t kMostConnections = 16;          // QEMU opens one, or one for each I/O thread
/** Requests of one connection that wait for a fill or for the storage, and the bytes they may hold; then it is not read. */
inline constexpr size_t kMostWaitingRequests = 64;
inline constexpr size_t kMostWaitingBytes = 64u << 20;
inline constexpr size_t kBatchBytes = 64u << 10;     // one receive takes this much: some 15 writes of 4 KiB
inline constexpr size_t kSendBytes = 128u << 10;     // answers are gathered up to here: still in the second-level cache when they are sent
inline constexpr size_t kKeptBufferBytes = 4u << 20; // a larger buffer is given back when it is empty
inline constexpr int kSocketBytes = 4 << 20;         // a large read goes to the socket in one piece
inline constexpr size_t kWorkers = 4;                // reads that miss the page cache, at the same time: what keeps a disk's queue busy
inline constexpr int kTurnsPerWake = 16;             // receives of one connection before the others have their turn

}  // namespace virtcft
