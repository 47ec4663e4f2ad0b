#!/usr/bin/env bash
# Full training, the head alone, the head and then LoRA, LoRA, and factorised weights, side by side: with the
# embedded model and reviews, and with a model and sentences of your own.
#
#     cargo build --release --examples
#     scripts/compare_methods.sh OUT [MODEL DATA]     # such as all-MiniLM-L6-v2 and SST-2's sentences
#
# Writes OUT/reviews and OUT/sentences, each with a folder for every run and with compare.svg, compare.html
# and compare.json. Let nothing else run beside it: times are compared, too.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?"usage: scripts/compare_methods.sh OUT [MODEL DATA]"}
programs=${CARGO_TARGET_DIR:-target}/release/examples

# Runs the methods with the learning rates of what starts anew and of what starts from trained weights.
compare() {
    local folder=$1 anew=$2 trained=$3 rank=$4 method
    shift 4
    local runs=()
    for method in full head head-then-lora lora factorized; do
        local settings=(--lr "$anew")
        case $method in
            full) settings=(--lr "$trained") ;;
            factorized) settings=(--lr "$trained" --rank "$rank") ;;
        esac
        echo "== $folder/$method"
        "$programs/sst2" --method "$method" "$@" "${settings[@]}" \
            --out "$folder/$method" --save-every never --overwrite | tail -n 5
        runs+=("$folder/$method")
    done
    "$programs/compare" "${runs[@]}" --metric accuracy --out "$folder"
}

compare "$out/reviews" 3e-3 5e-4 64
if [ $# -ge 3 ]; then
    compare "$out/sentences" 5e-4 5e-5 128 --model "$2" --data "$3" --epochs 1 --batch-size 32 --max-len 128 \
        --eval-every 50
fi
