#!/bin/sh
# The fabric's tests under the thread sanitizer: a suite of its own for `npm test`, beside fabric.sh with the address sanitizer.
exec "$(dirname "$0")/fabric.sh" thread
