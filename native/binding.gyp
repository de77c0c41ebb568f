{
  "targets": [
    {
      "target_name": "virtcft",
      "sources": ["src/addon.cc", "<!@(ls src/memory/*.cc src/section/*.cc src/disk/*.cc src/fabric/*.cc 2>/dev/null || true)"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=9", "NAPI_DISABLE_CPP_EXCEPTIONS"],
      "cflags!": ["-O3"],
      "cflags_cc!": ["-fno-exceptions", "-O3", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++20", "-fexceptions", "-fvisibility=hidden", "-O2", "-Wall", "-Wextra", "-pthread"],
      "libraries": ["-lzstd", "-l:libsodium.a", "-lpthread"],
      "ldflags": ["-Wl,--exclude-libs,libsodium.a"]
    }
  ]
}
