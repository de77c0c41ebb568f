#!/bin/sh
# Builds what the Xen side is without Xen, and its tests, plain and under the address and undefined-behaviour sanitizers, and runs them. Needs no Xen.
# Usage: xen.sh [scale]
set -eu
cd "$(dirname "$0")"
core="../xen/stream.cc ../xen/device_state.cc ../xen/domain_memory.cc ../xen/requests.cc ../xen/vif_nodes.cc ../xen/grants.cc ../xen/condition.cc ../src/memory/image.cc ../src/memory/layer.cc $(ls ../src/section/*.cc | grep -v binding.cc)"
for variant in plain sanitized; do
  flags="-O2"
  [ "$variant" = plain ] || flags="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
  dir="../build/test-xen/$variant"
  mkdir -p "$dir"
  objects=
  for source in $core xen_test.cc; do
    object="$dir/$(basename "$source" .cc).o"
    objects="$objects $object"
    if [ ! -e "$object" ] || [ -n "$(find ../src/memory ../src/section ../xen check.h -newer "$object" -name '*.h')" ] || [ "$source" -nt "$object" ]; then
      g++ -std=c++20 $flags -Wall -Wextra -pthread -c "$source" -o "$object"
    fi
  done
  g++ $flags -pthread $objects -lzstd -o "$dir/xen"
  echo "== $variant"
  "$dir/xen" "${1:-1}"
done
