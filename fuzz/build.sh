#!/bin/sh
# Builds the fuzzers on the stable compiler, without cargo-fuzz: build.sh [cargo's arguments]. With TENON_FUZZ_ASAN=1
# under AddressSanitizer. They lie in $CARGO_TARGET_DIR/<target>/release afterwards.
set -eu
cd "$(dirname "$0")"
host=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares"
if [ "${TENON_FUZZ_ASAN:-0}" = 1 ]; then
    export RUSTC_BOOTSTRAP=1
    coverage="$coverage -Zsanitizer=address"
fi
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${TMPDIR:-/tmp}/tenon-fuzz-target}"
# With --target the flags are not those of build scripts and macros.
RUSTFLAGS=$(echo $coverage) exec cargo build --release --target "$host" "$@"
