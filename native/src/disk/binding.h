// The `GuestDisk` part of native/index.d.ts.
#pragma once
#include <napi.h>

void RegisterDisk(Napi::Env env, Napi::Object exports);
