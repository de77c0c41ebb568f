#include "references.h"

#include <cstring>
#include <map>
#include <string>

#include "../memory/failure.h"
#include "page_catalog.h"
#include "section.h"

namespace virtcft {

std::vector<uint8_t> resolveReferences(std::span<const uint8_t> bytes, std::span<const std::span<const uint8_t>> sources) {
  const SectionReader section(bytes);
  section.check();
  if (sources.size() != section.sources().size()) {
    throw Failure(code::kBadSection, "page section refused: it refers to " + std::to_string(section.sources().size()) + " segments, " + std::to_string(sources.size()) + " were given");
  }
  using Content = std::vector<uint8_t>;
  std::vector<std::map<PageNumber, Content>> wanted(sources.size());
  for (const PageReference& reference : section.references()) wanted[reference.source].try_emplace(reference.page);
  for (size_t number = 0; number < sources.size(); number++) {
    const SectionReader source(sources[number]);
    source.eachStored([&](PageNumber page, PageKind kind, const uint8_t* content) {
      const auto found = wanted[number].find(page);
      if (found != wanted[number].end() && kind == PageKind::kRaw) found->second.assign(content, content + kPageBytes);
    });
    for (const auto& [page, content] : wanted[number]) {
      if (content.empty()) throw Failure(code::kBadSection, "page section refused: page " + std::to_string(page) + " of segment " + std::to_string(number) + " that it refers to is not there, or not raw");
    }
  }
  for (const PageReference& reference : section.references()) {
    if (hashOf(wanted[reference.source][reference.page].data()) == reference.hash) continue;
    throw Failure(code::kBadSection, "page section refused: page " + std::to_string(reference.page) + " of segment " + std::to_string(reference.source) + " is not the one that it refers to");
  }
  SectionWriter writer(section.memoryPages(), section.full());
  size_t next = 0;
  section.eachStored([&](PageNumber page, PageKind kind, const uint8_t* content) {
    switch (kind) {
      case PageKind::kZero: return writer.addZero(page);
      case PageKind::kRaw: return writer.addRaw(page, content);
      case PageKind::kReference: {
        const PageReference& reference = section.references()[next++];
        return writer.addRaw(page, wanted[reference.source][reference.page].data());
      }
      default: return writer.addXor(page, content);
    }
  });
  return writer.finish();
}

}  // namespace virtcft
