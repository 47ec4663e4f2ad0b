#!/usr/bin/env python3
"""Speed and memory beside PyTorch and PEFT: runs that alternate, several rounds, ratios with their spread.

    pip install torch transformers peft bitsandbytes
    cargo build --release --examples
    python scripts/compare_peft.py --out peft.json --table peft.md
    python scripts/compare_peft.py --only sst2 --minilm MiniLM --sst2 sst2-sentences
    python scripts/compare_peft.py --matmul-precision high --out peft.json --table peft.md

Both sides compute with the same `--matmul-precision`, which has PyTorch's names
(`torch.set_float32_matmul_precision`); PyTorch takes `high` for `highest` where it has nothing in between.

Every figure is from a process of its own. A round runs one process of each side, and a ratio is of the
two runs of a round; the table gives its median and its range. Rounds that are in the output file already
are not run again, so that the script can be stopped and started. Let nothing else run beside it.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
BASE = ["--arch", "roberta-base"]
# name: (what it is, arguments of this project's side, of the other side; None for PEFT's with the same)
STEPS = {
    "base-16x64": ("RoBERTa-base 16×64, r=8 on q, v", BASE + ["--batch", "16", "--seq", "64"], None),
    "base-8x128": ("RoBERTa-base 8×128, r=8 on q, v", BASE + ["--batch", "8", "--seq", "128"], None),
    "base-all": ("RoBERTa-base 16×64, r=8, all-linear", BASE + ["--targets", "all-linear"], None),
    "base-full": ("RoBERTa-base 16×64, all weights", BASE + ["--mode", "full"], None),
    "minilm": (
        "MiniLM 32×32, r=8 on q, v",
        ["--arch", "minilm", "--batch", "32", "--seq", "32", "--steps", "16"],
        None,
    ),
    "gpt2": (
        "GPT-2 as a language model 4×256, r=8 on c_attn",
        ["--arch", "gpt2", "--batch", "4", "--seq", "256"],
        None,
    ),
    "apply_lora": (
        "RoBERTa-base 16×64, against Burn's `apply_lora`",
        BASE,
        BASE + ["--mode", "apply_lora"],
    ),
    "burn": (
        "RoBERTa-base 16×64, against Burn's own encoder of that shape with `apply_lora`",
        BASE,
        ["--arch", "burn-encoder", "--mode", "apply_lora"],
    ),
    "products": (
        "RoBERTa-base 16×64, against the products alone, of all layers",
        BASE,
        BASE + ["--mode", "products"],
    ),
    "nf4": (
        "RoBERTa-base 16×64 with an NF4 base, against PEFT with bitsandbytes' NF4",
        BASE + ["--base", "nf4"],
        None,
    ),
    "nf4-f32": ("RoBERTa-base 16×64, an NF4 base against f32", BASE + ["--base", "nf4"], BASE),
    "int8-f32": (
        "RoBERTa-base 16×64, base and activations in int8 against f32",
        BASE + ["--base", "int8", "--activations", "int8"],
        BASE,
    ),
    "checkpointing": (
        "RoBERTa-base 16×64, with gradient checkpointing against without",
        BASE + ["--gradient-checkpointing"],
        BASE,
    ),
    "threads": (
        "RoBERTa-base 16×64, two threads against one",
        BASE + ["--threads", "2"],
        BASE + ["--threads", "1"],
    ),
}
REAL = {
    "sst2": ("MiniLM, SST-2 sentences, one epoch", "minilm", None),
    "sst2-base": ("RoBERTa-base shape, 960 SST-2 sentences", "roberta", 960),
}
PRECISIONS = ["highest", "high", "medium"]


def last_line(command):
    command = [str(word) for word in command]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def step(name, programs, precision):
    """One round: this project's process and the other's, and what both say of a step."""
    _, *arguments = STEPS[name]
    both = ["--matmul-precision", precision]
    ours, other = (side and side + both for side in arguments)
    bench = programs / "bench"
    peft = [sys.executable, HERE / "run_peft_step.py"]
    sides = last_line([bench] + ours), last_line([bench] + other if other else peft + ours)
    return [{"seconds": side["step_s"], "peak_rss_mb": side["peak_rss_mb"]} for side in sides]


def real(name, programs, models, data, precision):
    """One round of fine-tuning on sentences; seconds are of the training alone."""
    _, model, limit = REAL[name]
    settings = {"epochs": 1, "lr": 5e-4, "rank": 8, "alpha": 16}
    both = [f"--{key}={value}" for key, value in settings.items()]
    both += [f"--limit={limit}"] if limit else []
    both += [f"--matmul-precision={precision}"]
    folder = models[model]
    with tempfile.TemporaryDirectory() as out:
        command = [programs / "sst2", "--model", folder, "--data", data, "--out", out, "--overwrite"]
        command += both + ["--batch-size=32", "--max-len=128", "--save-every=never"]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
        metrics = json.loads((pathlib.Path(out) / "metrics.json").read_text())
    ours = {
        "seconds": sum(record["seconds"] for record in metrics["evaluations"]),
        "peak_rss_mb": metrics["peak_rss_mb"],
        "accuracy": metrics["evaluation"]["measures"]["accuracy"],
    }
    command = [sys.executable, HERE / "run_peft_sst2.py", "--model", folder, "--batch=32", "--max-len=128"]
    command += ["--train", data / "train.tsv", "--valid", data / "dev.tsv"]
    said = last_line(command + both)
    peft = {
        "seconds": said["train_s"],
        "peak_rss_mb": said["peak_rss_mb"],
        "accuracy": said["accuracy"],
    }
    return [ours, peft]


def random_roberta(tokenizer, folder):
    """A checkpoint of RoBERTa-base's shape with random weights, for what only takes time."""
    import torch
    from transformers import RobertaConfig, RobertaForSequenceClassification, RobertaTokenizer

    torch.manual_seed(0)
    shape = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
    RobertaForSequenceClassification(RobertaConfig(**shape)).save_pretrained(folder)
    RobertaTokenizer.from_pretrained(tokenizer).save_pretrained(folder)


def table(results):
    lines = ["| work | burn-lora, s | other, s | speed ratio (range) | memory ratio | rounds |"]
    lines.append("|---|---|---|---|---|---|")
    for key, rounds in results.items():
        name, _, precision = key.partition("@")
        title, *_ = {**STEPS, **REAL}[name]
        if precision:
            title += f", products of {precision} precision"
        ours, other = ([pair[side]["seconds"] for pair in rounds] for side in (0, 1))
        ratios = [b / a for a, b in zip(ours, other)]
        memory = statistics.median(a["peak_rss_mb"] / b["peak_rss_mb"] for a, b in rounds)
        lines.append(
            f"| {title} | {statistics.median(ours):.3f} | {statistics.median(other):.3f} | "
            f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) | "
            f"{memory:.2f} | {len(rounds)} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help=f"some of {','.join([*STEPS, *REAL])}")
    parser.add_argument("--matmul-precision", choices=PRECISIONS, default=PRECISIONS[0])
    parser.add_argument("--programs", type=pathlib.Path, default=pathlib.Path("target/release/examples"))
    parser.add_argument("--minilm", type=pathlib.Path, help="folder of a MiniLM, for sst2")
    parser.add_argument("--roberta-tokenizer", type=pathlib.Path, help="a tokenizer, for sst2-base")
    parser.add_argument("--sst2", type=pathlib.Path, help="folder with train.tsv and dev.tsv")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("peft.json"))
    parser.add_argument("--table", type=pathlib.Path, help="where to write the table")
    args = parser.parse_args()
    models = {"minilm": args.minilm}
    names = args.only.split(",") if args.only else list(STEPS)
    if "sst2-base" in names:
        models["roberta"] = args.out.parent / "roberta-base-random"
        if not models["roberta"].exists():
            random_roberta(args.roberta_tokenizer, models["roberta"])
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    for number in range(args.rounds):
        for name in names:
            precision = args.matmul_precision
            key = name if precision == PRECISIONS[0] else f"{name}@{precision}"
            rounds = results.setdefault(key, [])
            if len(rounds) > number:
                continue
            if name in STEPS:
                pair = step(name, args.programs, precision)
            else:
                pair = real(name, args.programs, models, args.sst2, precision)
            rounds.append(pair)
            print(key, number + 1, json.dumps(pair), flush=True)
            args.out.write_text(json.dumps(results, indent=1))
    print(table(results))
    if args.table:
        args.table.write_text(table(results))


if __name__ == "__main__":
    main()
