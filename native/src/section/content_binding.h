#pragma once
#include <napi.h>

/** Exports expandChunk, writeChunk and sha256. */
void RegisterContent(Napi::Env env, Napi::Object exports);
