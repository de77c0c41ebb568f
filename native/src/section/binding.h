#pragma once
#include <napi.h>

/** Exports ReplicaImage and inspectSection. */
void RegisterSection(Napi::Env env, Napi::Object exports);
