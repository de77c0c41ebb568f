// The addon: what native/index.d.ts declares, part by part.
#include <napi.h>

#include "disk/binding.h"
#include "memory/binding.h"
#include "section/binding.h"
#include "section/content_binding.h"
#if __has_include("fabric/binding.h")
#include "fabric/binding.h"
#define VIRTCFT_FABRIC 1
#endif

static Napi::Object Initialise(Napi::Env env, Napi::Object exports) {
  RegisterMemory(env, exports);
  RegisterSection(env, exports);
  RegisterContent(env, exports);
  RegisterDisk(env, exports);
#ifdef VIRTCFT_FABRIC
  RegisterFabric(env, exports);
#endif
  return exports;
}

NODE_API_MODULE(virtcft, Initialise)
