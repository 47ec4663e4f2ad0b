#!/usr/bin/env python3
"""LoRA sequence classification with transformers and PEFT on the CPU, from local files.

    pip install torch transformers peft
    python scripts/run_peft_sst2.py --model DIR --train train.tsv --valid dev.tsv --seed 0

TSV lines are `sentence<TAB>label`, with or without GLUE's header. Every batch is padded to its own longest
sentence. LoRA is applied to the query and value projections, and the classifier is trained with it.
AdamW with linear warm-up and decay. Prints one JSON line per epoch.
"""

import argparse
import json
import random
import resource
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Hugging Face folder of a BERT or RoBERTa model")
    parser.add_argument("--train", required=True)
    parser.add_argument("--valid", required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-len", type=int, default=128)
    parser.add_argument("--warmup-ratio", type=float, default=0.06)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--matmul-precision", choices=["highest", "high", "medium"], default="highest")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--limit", type=int, help="train on this many examples, drawn at random")
    return parser.parse_args()


def read_examples(path, tokenizer, max_len):
    """Token ids and label of each line; a header's second column is not a number."""
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    rows = [row for row in rows if len(row) == 2 and row[1].isdigit()]
    ids = tokenizer([text for text, _ in rows], truncation=True, max_length=max_len)["input_ids"]
    return [(tokens, int(label)) for tokens, (_, label) in zip(ids, rows)]


def batches(examples, size, pad):
    for start in range(0, len(examples), size):
        ids, labels = zip(*examples[start:start + size])
        longest = max(map(len, ids))
        yield {
            "input_ids": torch.tensor([i + [pad] * (longest - len(i)) for i in ids]),
            "attention_mask": torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i in ids]),
            "labels": torch.tensor(labels),
        }


def train_epoch(model, optimizer, schedule, examples, args, pad):
    """One pass over the shuffled examples; returns the mean loss of an example."""
    model.train()
    random.shuffle(examples)
    loss_sum = 0.0
    for batch in batches(examples, args.batch, pad):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss_sum += loss.item() * len(batch["labels"])
    return loss_sum / len(examples)


@torch.no_grad()
def accuracy(model, examples, args, pad):
    model.eval()
    correct = 0
    for batch in batches(examples, args.batch, pad):
        correct += int((model(**batch).logits.argmax(-1) == batch["labels"]).sum())
    return correct / len(examples)


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision(args.matmul_precision)
    torch.manual_seed(args.seed)
    random.seed(args.seed)

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    pad = tokenizer.pad_token_id
    train = read_examples(args.train, tokenizer, args.max_len)
    valid = read_examples(args.valid, tokenizer, args.max_len)
    if args.limit:
        train = random.sample(train, min(args.limit, len(train)))

    labels = 1 + max(label for _, label in train + valid)
    model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=labels, dtype=torch.float32)
    lora = LoraConfig(r=args.rank, lora_alpha=args.alpha, target_modules=["query", "value"], task_type="SEQ_CLS")
    model = get_peft_model(model, lora)
    trainable, total = model.get_nb_trainable_parameters()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=args.weight_decay)
    steps = -(-len(train) // args.batch) * args.epochs
    schedule = get_linear_schedule_with_warmup(optimizer, round(args.warmup_ratio * steps), steps)

    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        loss = train_epoch(model, optimizer, schedule, train, args, pad)
        seconds = time.perf_counter() - start
        report = {
            "epoch": epoch,
            "accuracy": round(accuracy(model, valid, args, pad), 4),
            "train_loss": round(loss, 4),
            "train_s": round(seconds, 1),
            "examples_per_s": round(len(train) / seconds, 1),
            # Linux counts in KiB.
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "trainable": trainable,
            "all": total,
        }
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
