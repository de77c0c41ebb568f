#!/bin/sh
# The fabric's core without Node, under AddressSanitizer and UBSan; as root in a network namespace of its own, the edge too.
# usage: native/test/fabric.sh [thread]   (thread: ThreadSanitizer instead)
set -eu
cd "$(dirname "$0")"
sanitize=address,undefined
[ "${1:-}" = thread ] && sanitize=thread
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# binding.cc and arguments.cc are the Node side.
sources=$(ls ../src/fabric/*.cc | grep -v -e binding.cc -e arguments.cc)
${CXX:-g++} -std=c++20 -O1 -g -Wall -Wextra -Werror -fsanitize=$sanitize -fno-sanitize-recover=all \
  -o "$out/fabric-core" fabric-core.cc $sources -lpthread
TMPDIR=$out "$out/fabric-core"
if [ -f fabric-edge.cc ]; then
  ${CXX:-g++} -std=c++20 -O1 -g -Wall -Wextra -Werror -fsanitize=$sanitize -fno-sanitize-recover=all \
    -o "$out/fabric-edge" fabric-edge.cc $sources -lpthread
  if [ "$(id -u)" = 0 ]; then
    unshare -n "$out/fabric-edge"
  else
    echo 'the edge needs root: its test was NOT run' >&2
    exit 1
  fi
fi
