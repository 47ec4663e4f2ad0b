#!/usr/bin/env bash
# Checks this project on a GPU: the device suite, the benchmark and a fine-tuning run, with a report.
#
#     scripts/gpu_check.sh cuda            # or wgpu, vulkan, metal, rocm; cuda:1 for the second card
#
# Writes gpu_check.md, with the versions and what every step said.
set -euo pipefail
cd "$(dirname "$0")/.."

device=${1:?"usage: scripts/gpu_check.sh DEVICE, such as cuda or vulkan:1"}
feature=${device%%:*}
report=gpu_check.md
examples=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/examples
failed=0

# A step's command and the end of what it says; the next step comes whether it fails or not.
step() {
    local title=$1 log
    shift
    log=$(mktemp)
    echo "== $title: $*"
    if "$@" >"$log" 2>&1; then
        echo "passed"
        printf '\n## %s: passed\n' "$title" >>"$report"
    else
        echo "FAILED"
        failed=1
        printf '\n## %s: FAILED\n' "$title" >>"$report"
    fi
    printf '\n`%s`\n\n```text\n%s\n```\n' "$*" "$(tail -n 30 "$log")" >>"$report"
    rm "$log"
}

{
    echo "# Burn-lora on $device, $(date -u +%Y-%m-%d)"
    echo
    echo "- commit $(git rev-parse --short HEAD), $(rustc --version), $(uname -sr)"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null |
        sed 's/^/- /' || true
} >"$report"

export LORA_TEST_DEVICE=$device
step "device suite" cargo test --workspace --features "$feature" --test devices
step "build" cargo build --release --workspace --features "$feature" --example bench --example sst2
for arch in roberta-base minilm gpt2; do
    step "step of $arch" "$examples/bench" --arch "$arch" --device "$device"
done
step "fine-tuning" "$examples/sst2" --device "$device" --out "$(mktemp -d)/sst2"
echo "written to $report"
exit "$failed"
