#!/bin/sh
# The fabric's core without Node, under AddressSanitizer and UBSan; the edge's part needs root (a network namespace of its own).
# usage: native/test/fabric.sh [thread]   (thread: ThreadSanitizer instead)
set -eu
cd "$(dirname "$0")"
sanitize=address,undefined
[ "${1:-}" = thread ] && sanitize=thread
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# binding.cc and arguments.cc are the Node side.
sources=$(ls ../src/fabric/*.cc | grep -v -e binding.cc -e arguments.cc)
compile="${CXX:-g++} -std=c++20 -O1 -g -Wall -Wextra -Werror -fsanitize=$sanitize -fno-sanitize-recover=all -c"
for source in $sources fabric-core.cc fabric-edge.cc; do echo "$source"; done |
  xargs -P 2 -I{} sh -c "$compile -o $out/\$(basename {}).o {}"
mkdir "$out/tests"
mv "$out/fabric-core.cc.o" "$out/fabric-edge.cc.o" "$out/tests"
for test in core edge; do
  ${CXX:-g++} -fsanitize=$sanitize -o "$out/fabric-$test" "$out/tests/fabric-$test.cc.o" "$out"/*.o -lpthread
done
TMPDIR=$out "$out/fabric-core"
if [ "$(id -u)" != 0 ]; then
  echo 'the edge was NOT tested: that needs root' >&2
  exit 1
fi
TMPDIR=$out unshare -n "$out/fabric-edge"
