#!/bin/sh
# Builds the native core and its tests without Node's headers, plain and under the address and undefined-behaviour sanitizers, and runs them.
# Usage: run.sh [scale]   (how many times more of the random tests; default 1). Needs root (or CAP_SYS_PTRACE) for the trackers.
set -eu
cd "$(dirname "$0")"
scale=${1:-1}
out=../build/test
mkdir -p "$out"
g++ -std=c++20 -O2 -pthread guest.cc -o "$out/guest"
core=$(ls ../src/memory/*.cc ../src/section/*.cc ../src/disk/*.cc | grep -v -e binding.cc -e promises.cc)
for variant in plain sanitized; do
  flags="-O2"
  [ "$variant" = plain ] || flags="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
  dir="$out/$variant"
  mkdir -p "$dir"
  objects=
  for source in $core; do
    object="$dir/$(basename "$(dirname "$source")")-$(basename "$source" .cc).o"
    objects="$objects $object"
    if [ ! -e "$object" ] || [ -n "$(find ../src/memory ../src/section ../src/disk -newer "$object" -name '*.h')" ] || [ "$source" -nt "$object" ]; then
      g++ -std=c++20 $flags -Wall -Wextra -pthread -c "$source" -o "$object"
    fi
  done
  for test in section chunk memory fill disk; do
    g++ -std=c++20 $flags -Wall -Wextra -pthread -DGUEST="\"$PWD/$out/guest\"" -DGOLDEN="\"$PWD/golden\"" "${test}_test.cc" $objects -lzstd -o "$dir/$test"
    echo "== $variant"
    "$dir/$test" "$scale"
  done
done
