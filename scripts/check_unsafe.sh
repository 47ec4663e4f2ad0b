#!/usr/bin/env bash
# Runs the tests of lora-core's unit code and of its operations under AddressSanitizer: all `unsafe` of this
# project is there. Needs nothing but the toolchain; builds into a folder of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
# The sanitizer is a feature of the nightly compiler that the stable one has, too.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address -Cdebuginfo=line-tables-only"
# The pool of memory never goes back to the system, and neither does the thread pool.
export ASAN_OPTIONS=detect_leaks=0
exec cargo test --locked --package lora-core --package lora-core-tests --lib --test ops --target "$host" \
    --target-dir "${CARGO_TARGET_DIR:-target}/sanitizer" "$@"
