#pragma once
#include <napi.h>

/** Exports GuestMemory and probeTracker. */
void RegisterMemory(Napi::Env env, Napi::Object exports);
