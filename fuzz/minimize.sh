#!/bin/sh
# Makes a small corpus of large ones: minimize.sh TARGET FOLDER... Of the inputs that cover all code which is covered
# at all, it keeps TENON_FUZZ_KEEP (200) and 256 KiB at most; files that are called regression-… stay.
set -eu
cd "$(dirname "$0")"
target=$1
shift
build="${CARGO_TARGET_DIR:-${TMPDIR:-/tmp}/tenon-fuzz-target}"
host=$(rustc -vV | sed -n 's/^host: //p')
merged=$(mktemp -d)
trap 'rm -rf "$merged"' EXIT
"$build/$host/release/$target" -merge=1 -use_counters=0 -max_len=16384 -timeout=10 -rss_limit_mb=2048 \
    "$merged" "$@" 2>/dev/null
mkdir -p "corpora/$target"
find "corpora/$target" -type f ! -name 'regression-*' -delete
keep="${TENON_FUZZ_KEEP:-200}" total=0 count=0
# The names are digests, so this order is one at random.
for file in $(ls "$merged"); do
    size=$(wc -c <"$merged/$file")
    if [ "$count" -ge "$keep" ] || [ $((total + size)) -gt 262144 ]; then continue; fi
    total=$((total + size)) count=$((count + 1))
    cp "$merged/$file" "corpora/$target/$(printf %.16s "$file")"
done
echo "$target: $(ls "corpora/$target" | wc -l) inputs of $(ls "$merged" | wc -l), $total bytes"
