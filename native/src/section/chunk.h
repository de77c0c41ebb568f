// Chunks of content as a store holds them (docs/formats/image.md).
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace virtcft::chunk {

inline constexpr size_t kBytes = 1024 * 1024;  // of the largest content

/**
 * The content of a stored chunk, in room of this thread's own until its next call. `bytes`: how long it is, where that is known. Refuses (EBADCHUNK) what is
 * not one zstd frame of exactly the content that `hash` names, and what is all zero.
 */
std::span<const uint8_t> expand(std::span<const uint8_t> stored, const std::string& hash, std::optional<size_t> bytes);

/** Writes content into a file that is zero there: blocks of zeros stay holes. */
void writeSparse(int fd, uint64_t position, std::span<const uint8_t> content);

}  // namespace virtcft::chunk
