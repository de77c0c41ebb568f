// Xen's migration stream, version 3 (docs: libxenguest, "libxc migration stream"): what `xc_domain_restore` reads. Only the parts of an x86 HVM domain.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "memory_map.h"

namespace virtcft::xen {

enum class RecordType : uint32_t {
  kEnd = 0, kPageData = 1, kTscInfo = 8, kHvmContext = 9, kHvmParams = 10, kStaticDataEnd = 16, kCpuidPolicy = 17, kMsrPolicy = 18,
};

using Bytes = std::vector<uint8_t>;

namespace stream {

/** Image header and domain header. `major`, `minor`: of the Xen that writes it. */
void begin(Bytes& to, uint32_t major, uint32_t minor);
inline constexpr size_t kBeginBytes = 40;
/** A record, padded to 8 bytes; the body may come in two parts. */
void record(Bytes& to, RecordType type, std::span<const uint8_t> body, std::span<const uint8_t> more = {});

struct TscInfo {
  uint32_t mode, khz;
  uint64_t elapsed_ns;
  uint32_t incarnation;
};
void tscInfo(Bytes& to, const TscInfo& tsc);

struct HvmParam {
  uint64_t index, value;
};
void hvmParams(Bytes& to, std::span<const HvmParam> params);

/** The head of a PAGE_DATA record of `gfns`; their contents follow, 4096 bytes each. */
void pagesHead(Bytes& to, std::span<const Gfn> gfns);

/** Calls `each` for the records of `bytes`, which begin behind the headers. Failure EBADSTATE at anything that is not a whole, known record. */
void eachRecord(std::span<const uint8_t> bytes, const std::function<void(RecordType, std::span<const uint8_t> body)>& each);

}  // namespace stream
}  // namespace virtcft::xen
