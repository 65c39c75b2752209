#!/bin/sh
# Runs one fuzzer: run.sh TARGET SECONDS [libFuzzer's arguments]. Build it first with build.sh. What it finds new goes to
# $CARGO_TARGET_DIR/corpus/TARGET, an input that breaks something to $CARGO_TARGET_DIR/artifacts/TARGET.
set -eu
cd "$(dirname "$0")"
target=$1 seconds=$2
shift 2
build="${CARGO_TARGET_DIR:-${TMPDIR:-/tmp}/tenon-fuzz-target}"
host=$(rustc -vV | sed -n 's/^host: //p')
mkdir -p "$build/corpus/$target" "$build/artifacts/$target"
exec "$build/$host/release/$target" "$build/corpus/$target" "corpora/$target" \
    -artifact_prefix="$build/artifacts/$target/" -max_total_time="$seconds" -max_len=24576 \
    -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 "$@"
