#!/usr/bin/env python3
"""Tasks of GLUE with PEFT and with this project, with the same settings, over several seeds.

    pip install torch transformers peft scikit-learn scipy
    cargo build --release --example glue
    python scripts/compare_glue.py --model MiniLM --data rte=glue-rte --data mrpc=mrpc \
        --data cola=glue-cola --data stsb=stsbenchmark --out glue.json --table glue.md

Both train LoRA (r = 8, alpha = 16, on query and value), the pooler and the head with AdamW, without
decay on biases and layer norms, gradients cut at norm 1, linear warm-up over 6 % of the steps and decay,
batches of 32 (of like lengths), and measure the development examples after the last epoch. The pooler
is trained because models of sentence embeddings, such as MiniLM, come without a useful one. A run that
is in the output file already is not made again, so that the script can be stopped and started.
"""

import argparse
import csv
import json
import math
import pathlib
import random
import resource
import subprocess
import sys
import tempfile
import time

SETTINGS = {"epochs": 2, "lr": 2e-3, "batch": 32, "max_len": 128}
# The fields of PEFT's configuration, for both sides.
ADAPTERS = {
    "r": 8,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "target_modules": ["query", "value"],
    "modules_to_save": ["pooler", "classifier"],
    "task_type": "SEQ_CLS",
}
METRICS = {
    "cola": ["matthews_correlation"],
    "rte": ["accuracy"],
    "mrpc": ["accuracy", "f1"],
    "stsb": ["pearson_correlation", "spearman_correlation"],
}


def tab_separated(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def read(task, path):
    """(text, pair or None, label) of each example, straight from the published files."""
    rows = tab_separated(path)
    if task == "cola":
        return [(row[3], None, int(row[1])) for row in rows]
    if task == "rte":
        return [(r[1], r[2], ["entailment", "not_entailment"].index(r[3])) for r in rows[1:]]
    if task == "mrpc":
        plain = lambda text: text.replace("<QUOTE>", '"')
        return [(plain(r[3]), plain(r[4]), int(r[0])) for r in rows[1:]]
    return [(row[5], row[6], float(row[4])) for row in rows]


FILES = {
    "cola": ("train.tsv", "dev.tsv"),
    "rte": ("train.tsv", "dev.tsv"),
    "mrpc": ("msr_paraphrase_train.txt", "msr_paraphrase_test.txt"),
    "stsb": ("sts-train.csv", "sts-dev.csv"),
}


def measures(task, predicted, labels):
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    known = {
        "matthews_correlation": lambda: matthews_corrcoef(labels, predicted),
        "accuracy": lambda: accuracy_score(labels, predicted),
        "f1": lambda: f1_score(labels, predicted),
        "pearson_correlation": lambda: pearsonr(predicted, labels)[0],
        "spearman_correlation": lambda: spearmanr(predicted, labels)[0],
    }
    return {name: float(known[name]()) for name in METRICS[task]}


def peft(task, model_folder, data, seed):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        get_linear_schedule_with_warmup,
    )

    torch.manual_seed(seed)
    random.seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)

    def encoded(path):
        examples = read(task, path)
        texts, pairs = [e[0] for e in examples], [e[1] for e in examples]
        arguments = [texts] if pairs[0] is None else [texts, pairs]
        tokens = tokenizer(*arguments, truncation=True, max_length=SETTINGS["max_len"])
        keys = [key for key in ("input_ids", "token_type_ids") if key in tokens]
        return [
            {**{key: tokens[key][i] for key in keys}, "label": example[2]}
            for i, example in enumerate(examples)
        ]

    train, dev = (encoded(pathlib.Path(data) / name) for name in FILES[task])
    labels = 1 if task == "stsb" else 2
    model = AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=labels)
    model = get_peft_model(model, LoraConfig(**ADAPTERS))
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    no_decay = lambda name: "bias" in name or "LayerNorm" in name
    groups = [
        {"params": [p for n, p in trained if not no_decay(n)], "weight_decay": 0.01},
        {"params": [p for n, p in trained if no_decay(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=SETTINGS["lr"])
    size = SETTINGS["batch"]
    steps = math.ceil(len(train) / size) * SETTINGS["epochs"]
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(0.06 * steps), steps)
    pad = {"input_ids": tokenizer.pad_token_id, "token_type_ids": 0}

    def batch(examples):
        longest = max(len(e["input_ids"]) for e in examples)
        filled = {
            key: [e[key] + [fill] * (longest - len(e[key])) for e in examples]
            for key, fill in pad.items()
            if key in examples[0]
        }
        lengths = [len(e["input_ids"]) for e in examples]
        filled["attention_mask"] = [[1] * n + [0] * (longest - n) for n in lengths]
        return {key: torch.tensor(value) for key, value in filled.items()}

    started = time.time()
    for _ in range(SETTINGS["epochs"]):
        model.train()
        random.shuffle(train)
        together = 50 * size
        order = []
        for start in range(0, len(train), together):
            part = train[start : start + together]
            order += sorted(part, key=lambda e: -len(e["input_ids"]))
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        whole = [b for b in batches if len(b) == size]
        random.shuffle(whole)
        for examples in whole + [b for b in batches if len(b) < size]:
            targets = torch.tensor([e["label"] for e in examples])
            logits = model(**batch(examples)).logits
            if labels == 1:
                loss = torch.nn.functional.mse_loss(logits[:, 0], targets.float())
            else:
                loss = torch.nn.functional.cross_entropy(logits, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for _, p in trained], 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    seconds = time.time() - started
    model.eval()
    said = [0.0] * len(dev)
    order = sorted(range(len(dev)), key=lambda i: len(dev[i]["input_ids"]))
    with torch.no_grad():
        for start in range(0, len(order), 64):
            part = order[start : start + 64]
            logits = model(**batch([dev[i] for i in part])).logits
            values = logits[:, 0] if labels == 1 else logits.argmax(-1)
            for index, value in zip(part, values.tolist()):
                said[index] = value
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = measures(task, said, [e["label"] for e in dev])
    return {**found, "train_seconds": seconds, "peak_rss_mb": peak}


def ours(task, model_folder, data, seed, program):
    with tempfile.TemporaryDirectory() as folder:
        out, config = pathlib.Path(folder) / "out", pathlib.Path(folder) / "adapter_config.json"
        config.write_text(json.dumps({"peft_type": "LORA", **ADAPTERS}))
        command = [program, task, "--model", model_folder, "--data", data, "--seed", seed]
        command += ["--epochs", SETTINGS["epochs"], "--lr", SETTINGS["lr"]]
        command += ["--batch-size", SETTINGS["batch"], "--max-len", SETTINGS["max_len"]]
        command += ["--config", config, "--group-by-length", "--save-every", "never", "--out", out]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
        metrics = json.loads((out / "metrics.json").read_text())
    found = {name: metrics["evaluation"]["measures"][name] for name in METRICS[task]}
    seconds = sum(record["seconds"] for record in metrics["evaluations"])
    return {**found, "train_seconds": seconds, "peak_rss_mb": metrics["peak_rss_mb"]}


def peft_in_a_process(task, model, data, seed):
    """Memory is measured for the whole process, so each run has its own."""
    command = [sys.executable, __file__, "--one", task, "--model", model, "--data", f"{task}={data}"]
    command += ["--seeds", str(seed)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def shortened(task, folder, limit, to):
    """A copy of the task's files with the first `limit` training examples only."""
    to.mkdir(parents=True)
    for index, name in enumerate(FILES[task]):
        lines = (pathlib.Path(folder) / name).read_text(encoding="utf-8").splitlines(keepends=True)
        header = 1 if task in ("rte", "mrpc") else 0
        (to / name).write_text("".join(lines[: limit + header] if index == 0 else lines), encoding="utf-8")
    return to


def spread(values):
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1))
    return mean, deviation


def table(results):
    lines = ["| task | metric | PEFT | burn-lora | difference |", "|---|---|---|---|---|"]
    for task, names in METRICS.items():
        runs = {side: results.get(f"{task}/{side}", {}).values() for side in ("peft", "ours")}
        if not all(runs.values()):
            continue
        for name in names:
            cells, means = [], []
            for side in ("peft", "ours"):
                mean, deviation = spread([run[name] for run in runs[side]])
                means.append(mean)
                cells.append(f"{mean:.4f} ± {deviation:.4f}")
            words = name.replace("_", " ")
            lines.append(f"| {task} | {words} | {cells[0]} | {cells[1]} | {means[1] - means[0]:+.4f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder of a BERT or RoBERTa")
    parser.add_argument("--data", action="append", required=True, metavar="TASK=FOLDER")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--program", default="target/release/examples/glue")
    parser.add_argument("--sides", default="peft,ours", help="which to run: peft, ours or both")
    parser.add_argument("--out", default="glue.json")
    parser.add_argument("--table", help="where to write the table, besides standard output")
    parser.add_argument("--limit", type=int, help="train on the first so many examples of each task")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    data = dict(pair.split("=", 1) for pair in arguments.data)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    if arguments.one:
        task = arguments.one
        print(json.dumps(peft(task, arguments.model, data[task], seeds[0])))
        return
    if arguments.limit:
        with tempfile.TemporaryDirectory() as folder:
            short = pathlib.Path(folder)
            data = {t: str(shortened(t, d, arguments.limit, short / t)) for t, d in data.items()}
            compare(arguments, data, seeds)
    else:
        compare(arguments, data, seeds)


def compare(arguments, data, seeds):
    out = pathlib.Path(arguments.out)
    results = json.loads(out.read_text()) if out.exists() else {}
    for task, folder in data.items():
        for seed in seeds:
            for side in arguments.sides.split(","):
                runs = results.setdefault(f"{task}/{side}", {})
                if str(seed) in runs:
                    continue
                if side == "peft":
                    runs[str(seed)] = peft_in_a_process(task, arguments.model, folder, seed)
                else:
                    program = arguments.program
                    runs[str(seed)] = ours(task, arguments.model, folder, seed, program)
                print(task, side, seed, json.dumps(runs[str(seed)]), flush=True)
                out.write_text(json.dumps(results, indent=1))
    text = table(results)
    print(text)
    if arguments.table:
        pathlib.Path(arguments.table).write_text(text)


if __name__ == "__main__":
    main()
