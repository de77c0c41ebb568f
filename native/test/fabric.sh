#!/bin/sh
# The fabric's core without Node, its edge in a network namespace of its own.
# usage: native/test/fabric.sh [address|thread|plain]   (which sanitizers: address and undefined behaviour, threads, none)
set -eu
cd "$(dirname "$0")"
case "${1:-address}" in
  address) sanitize='-fsanitize=address,undefined -fno-sanitize-recover=all' ;;
  thread) sanitize='-fsanitize=thread -fno-sanitize-recover=all' ;;
  plain) sanitize='' ;;
  *) echo "fabric.sh: unknown sanitizers $1" >&2; exit 2 ;;
esac
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# binding.cc and arguments.cc are the Node side.
sources=$(ls ../src/fabric/*.cc | grep -v -e binding.cc -e arguments.cc)
compile="${CXX:-g++} -std=c++20 -O1 -g -Wall -Wextra -Werror $sanitize -c"
for source in $sources fabric-core.cc fabric-edge.cc; do echo "$source"; done |
  xargs -P 2 -I{} sh -c "$compile -o $out/\$(basename {}).o {}"
mkdir "$out/tests"
mv "$out/fabric-core.cc.o" "$out/fabric-edge.cc.o" "$out/tests"
for test in core edge; do
  ${CXX:-g++} $sanitize -o "$out/fabric-$test" "$out/tests/fabric-$test.cc.o" "$out"/*.o -l:libsodium.a -lpthread
done
TMPDIR=$out "$out/fabric-core"
own=-n
[ "$(id -u)" = 0 ] || own=-rn
TMPDIR=$out unshare $own "$out/fabric-edge"
