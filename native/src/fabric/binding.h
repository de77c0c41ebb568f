#pragma once

#include <napi.h>

/** Adds the class `Fabric` of native/index.d.ts to the exports. */
void RegisterFabric(Napi::Env env, Napi::Object exports);
