#!/usr/bin/env bash
# Stops training in every way that happens to people, and checks that nothing is lost: SIGKILL at 50
# moments, Ctrl-C, and a full disk. Takes a few minutes; the full disk needs root, for a small tmpfs.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

step "SIGKILL, 50 times"
KILLS=50 cargo test --workspace --test resume -- --exact \
    resuming::a_killed_process_loses_only_what_came_after_its_last_checkpoint

cargo build --workspace --examples
program=${CARGO_TARGET_DIR:-target}/debug/examples/sst2
out=$(mktemp -d)
trap 'umount "$out/small" 2>/dev/null || true; rm -rf "$out"' EXIT
options="--epochs 2 --limit 320 --save-every 4 --eval-every 8"

step "the whole run"
"$program" $options --out "$out/whole" | tail -n 3

step "Ctrl-C"
for seconds in 4 7; do
    rm -rf "$out/stopped"
    "$program" $options --out "$out/stopped" >"$out/log" 2>&1 &
    process=$!
    sleep "$seconds"
    kill -INT "$process"
    wait "$process" || fail "the program ended with $? instead of 0"
    grep -q 'interrupted after step' "$out/log" || fail "it did not say that it was interrupted: $(cat "$out/log")"
    grep 'interrupted after step' "$out/log"
    "$program" $options --out "$out/stopped" --resume | tail -n 3
    cmp "$out/whole/adapter/adapter_model.safetensors" "$out/stopped/adapter/adapter_model.safetensors" \
        || fail "the resumed run has other weights"
done

step "a full disk"
if [ "$(id -u)" != 0 ]; then
    echo "skipped: it needs root"
    exit 0
fi
mkdir "$out/small"
mount -t tmpfs -o size=1m tmpfs "$out/small"
if "$program" $options --out "$out/small/run" >"$out/log" 2>&1; then
    fail "the disk was not full: $(du -s "$out/small")"
fi
grep '^error' "$out/log"
grep -q 'No space left' "$out/log" || fail "the message does not say why: $(cat "$out/log")"
ls "$out/small/run"
cp -r "$out/small/run" "$out/roomy"
"$program" $options --out "$out/roomy" --resume | tail -n 3
cmp "$out/whole/adapter/adapter_model.safetensors" "$out/roomy/adapter/adapter_model.safetensors" \
    || fail "the run that went on elsewhere has other weights"

step "done"
