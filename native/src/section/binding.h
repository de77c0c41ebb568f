#pragma once
#include <napi.h>

#include <memory>

#include "page_catalog.h"

/** Exports ReplicaImage, PageCatalog, inspectSection and resolveReferences. */
void RegisterSection(Napi::Env env, Napi::Object exports);

namespace virtcft {

/** The catalog behind a JavaScript PageCatalog; null for null and undefined. EINVAL for anything else, ECLOSED for one that was closed. */
std::shared_ptr<const PageCatalog> catalogOf(const Napi::Value& value);

/** In lower-case hex. */
Napi::Value namesValue(Napi::Env env, const std::vector<SegmentName>& names);

}  // namespace virtcft
