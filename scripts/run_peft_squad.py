#!/usr/bin/env python3
"""LoRA question answering with transformers and PEFT on the CPU, from local files of SQuAD.

    pip install torch transformers peft
    python scripts/run_peft_squad.py --model DIR --train train-v1.1.json --dev dev-v1.1.json --seed 0

Windows of the contexts, the answers' tokens, and how answers are chosen and measured are those of
`run_qa.py` and the official programs, as in `examples/squad.rs`, whose settings are the defaults here:
windows in batches padded to their longest, LoRA on the query and value projections, the head trained with
it, AdamW with linear warm-up and decay. Prints one JSON line per epoch and one at the end. With `--state`
a run that was stopped goes on where it was, as of the last hundredth step.
"""

import argparse
import collections
import gzip
import json
import os
import random
import re
import resource
import string
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, get_linear_schedule_with_warmup


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Hugging Face folder of a BERT or RoBERTa model")
    parser.add_argument("--train", required=True, help="SQuAD's JSON, maybe packed by gzip")
    parser.add_argument("--dev", required=True)
    parser.add_argument("--method", choices=["lora", "full"], default="lora")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--lr", type=float, help="default: 5e-4, or 3e-5 for full training")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-len", type=int, default=384)
    parser.add_argument("--doc-stride", type=int, default=128)
    parser.add_argument("--n-best-size", type=int, default=20)
    parser.add_argument("--max-answer-length", type=int, default=30)
    parser.add_argument("--null-score-diff-threshold", type=float, default=0.0)
    parser.add_argument("--warmup-ratio", type=float, default=0.06)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--max-grad-norm", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--group-by-length", action="store_true", help="windows of like lengths in a batch")
    parser.add_argument("--limit", type=int, help="train on this many questions, drawn at random")
    parser.add_argument("--limit-dev", type=int, help="measure on the first so many questions")
    parser.add_argument("--state", help="file that keeps where the run is, and goes with it")
    parser.add_argument("--features-only", action="store_true", help="count the windows and do nothing else")
    return parser.parse_args()


def read_questions(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    return [
        {**asked, "context": paragraph["context"]}
        for article in articles
        for paragraph in article["paragraphs"]
        for asked in paragraph["qas"]
    ]


def make_features(questions, tokenizer, args):
    """Every window of every question, with the places of the answer's first and last token."""
    encoded = tokenizer(
        [question["question"].lstrip() for question in questions],
        [question["context"] for question in questions],
        truncation="only_second",
        max_length=args.max_len,
        stride=args.doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    features = []
    for index, question in enumerate(encoded["overflow_to_sample_mapping"]):
        texts = encoded.sequence_ids(index)
        offsets = [o if text == 1 else None for o, text in zip(encoded["offset_mapping"][index], texts)]
        features.append({
            "question": question,
            "ids": encoded["input_ids"][index],
            "segments": [int(text == 1 or i > texts.index(1)) for i, text in enumerate(texts)],
            "offsets": offsets,
            "place": place_of(questions[question]["answers"], offsets),
        })
    return features


def place_of(answers, offsets):
    """The tokens that an answer begins and ends with, or the first token if they are not here."""
    if not answers:
        return 0, 0
    inside = [index for index, offset in enumerate(offsets) if offset is not None]
    start = answers[0]["answer_start"]
    end = start + len(answers[0]["text"])
    if not (offsets[inside[0]][0] <= start and offsets[inside[-1]][1] >= end):
        return 0, 0
    first = max(index for index in inside if offsets[index][0] <= start)
    last = max((index for index in inside if offsets[index][1] < end), default=inside[0] - 1) + 1
    return first, last


def batches(features, size, pad, segments):
    for at in range(0, len(features), size):
        chosen = features[at:at + size]
        longest = max(len(feature["ids"]) for feature in chosen)
        fill = lambda rows, value: torch.tensor([row + [value] * (longest - len(row)) for row in rows])
        batch = {
            "input_ids": fill([feature["ids"] for feature in chosen], pad),
            "attention_mask": fill([[1] * len(feature["ids"]) for feature in chosen], 0),
        }
        if segments:
            batch["token_type_ids"] = fill([feature["segments"] for feature in chosen], 0)
        starts, ends = zip(*(feature["place"] for feature in chosen))
        yield chosen, batch, torch.tensor(starts), torch.tensor(ends)


def grouped(order, features, size):
    """The order with like lengths in each batch: each 50 batches by length, then the batches shuffled."""
    parts = [order[at:at + 50 * size] for at in range(0, len(order), 50 * size)]
    order = [index for part in parts for index in sorted(part, key=lambda i: -len(features[i]["ids"]))]
    all_batches = [order[at:at + size] for at in range(0, len(order), size)]
    whole = [batch for batch in all_batches if len(batch) == size]
    random.shuffle(whole)
    rest = [batch for batch in all_batches if len(batch) < size]
    return [index for batch in whole + rest for index in batch]


class State:
    """What a run needs to go on, in a file every hundredth step; without a path it does nothing."""

    def __init__(self, path, parameters, optimizer, schedule):
        self.path, self.parameters = path, parameters
        self.stateful = {"optimizer": optimizer, "schedule": schedule}
        self.epoch, self.step, self.loss_sum, self.seconds, self.order = 1, 0, 0.0, 0.0, None
        if path and os.path.exists(path):
            found = torch.load(path, weights_only=False)
            self.epoch, self.step, self.loss_sum, self.seconds, self.order = found["at"]
            with torch.no_grad():
                for parameter, value in zip(parameters, found["parameters"], strict=True):
                    parameter.copy_(value)
            for name, part in self.stateful.items():
                part.load_state_dict(found[name])
            torch.set_rng_state(found["torch"])
            random.setstate(found["random"])

    def begin_epoch(self, features, args):
        """The order of the epoch, and how many of its steps are done."""
        if self.order is None:
            self.step, self.loss_sum, self.seconds = 0, 0.0, 0.0
            self.order = random.sample(range(len(features)), len(features))
            if args.group_by_length:
                self.order = grouped(self.order, features, args.batch)
        return self.order, self.step

    def after_step(self, loss_sum, seconds):
        self.step, self.loss_sum = self.step + 1, loss_sum
        if self.step % 100 == 0:
            self.save(seconds)

    def after_epoch(self, seconds):
        self.epoch, self.order = self.epoch + 1, None
        self.save(seconds)

    def save(self, seconds):
        if not self.path:
            return
        parts = {name: part.state_dict() for name, part in self.stateful.items()}
        torch.save(
            {
                "at": (self.epoch, self.step, self.loss_sum, seconds, self.order),
                "parameters": [p.detach() for p in self.parameters],
                "torch": torch.get_rng_state(),
                "random": random.getstate(),
                **parts,
            },
            self.path + ".new",
        )
        os.replace(self.path + ".new", self.path)


def train_epoch(model, state, features, args, batch_options):
    """One pass over the shuffled features; returns the mean loss of one, and the time."""
    model.train()
    optimizer, schedule = state.stateful["optimizer"], state.stateful["schedule"]
    order, done = state.begin_epoch(features, args)
    before, start = state.seconds, time.perf_counter()
    loss_sum = state.loss_sum
    left = [features[index] for index in order[done * args.batch:]]
    for chosen, batch, starts, ends in batches(left, args.batch, *batch_options):
        loss = model(**batch, start_positions=starts, end_positions=ends).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.parameters, args.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss_sum += loss.item() * len(chosen)
        state.after_step(loss_sum, before + time.perf_counter() - start)
    seconds = before + time.perf_counter() - start
    state.after_epoch(seconds)
    return loss_sum / len(features), seconds


@torch.no_grad()
def all_logits(model, features, args, batch_options):
    """The logits of starts and ends, in the order of the features."""
    model.eval()
    order = sorted(range(len(features)), key=lambda index: len(features[index]["ids"]))
    logits = [None] * len(features)
    at = 0
    for chosen, batch, _, _ in batches([features[index] for index in order], args.batch, *batch_options):
        output = model(**batch)
        for row, feature in enumerate(chosen):
            count = len(feature["ids"])
            logits[order[at]] = (output.start_logits[row, :count].tolist(), output.end_logits[row, :count].tolist())
            at += 1
    return logits


def best_answer(question, windows, args):
    """The best answer of all windows, and by how much no answer is better."""
    highest = lambda values: sorted(range(len(values)), key=lambda i: (-values[i], -i))[:args.n_best_size]
    found = []
    for feature, (starts, ends) in windows:
        offsets = feature["offsets"]
        for start in highest(starts):
            for end in highest(ends):
                if offsets[start] is None or offsets[end] is None:
                    continue
                if start <= end < start + args.max_answer_length:
                    text = question["context"][offsets[start][0]:offsets[end][1]]
                    found.append((starts[start] + ends[end], text))
    score, text = max((pair for pair in found if pair[1]), key=lambda pair: pair[0], default=(0.0, "empty"))
    null = min(starts[0] + ends[0] for _, (starts, ends) in windows)
    return text, null - score


def words(text):
    """The words that the official programs compare."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def compare(text, gold):
    """Exact match and F1."""
    said, right = words(text), words(gold)
    if not said or not right:
        return float(said == right), float(said == right)
    same = sum((collections.Counter(said) & collections.Counter(right)).values())
    return float(said == right), 2 * same / (len(said) + len(right))


def measure(model, questions, features, args, batch_options):
    windows = collections.defaultdict(list)
    for feature, logits in zip(features, all_logits(model, features, args, batch_options)):
        windows[feature["question"]].append((feature, logits))
    version_2 = any(question.get("is_impossible") for question in questions)
    exact = f1 = 0.0
    for index, question in enumerate(questions):
        text, odds = best_answer(question, windows[index], args)
        if version_2 and odds > args.null_score_diff_threshold:
            text = ""
        scores = [compare(text, gold["text"]) for gold in question["answers"] or [{"text": ""}]]
        exact += max(score for score, _ in scores)
        f1 += max(score for _, score in scores)
    return exact / len(questions), f1 / len(questions)


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    random.seed(args.seed)

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    train_questions, dev_questions = read_questions(args.train), read_questions(args.dev)
    if args.limit:
        train_questions = random.sample(train_questions, min(args.limit, len(train_questions)))
    dev_questions = dev_questions[:args.limit_dev]
    train = make_features(train_questions, tokenizer, args)
    dev = make_features(dev_questions, tokenizer, args)
    counts = {"train_features": len(train), "dev_features": len(dev)}
    if args.features_only:
        print(json.dumps(counts))
        return

    model = AutoModelForQuestionAnswering.from_pretrained(args.model, dtype=torch.float32)
    segments = getattr(model.config, "type_vocab_size", 1) > 1
    if args.method == "lora":
        lora = LoraConfig(
            r=args.rank, lora_alpha=args.alpha, target_modules=["query", "value"], task_type="QUESTION_ANS"
        )
        model = get_peft_model(model, lora)
    parameters = [p for p in model.parameters() if p.requires_grad]
    rate = args.lr or (5e-4 if args.method == "lora" else 3e-5)
    decayed = [p for p in parameters if p.ndim > 1]
    groups = [{"params": decayed}, {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=args.weight_decay)
    steps = -(-len(train) // args.batch) * args.epochs
    schedule = get_linear_schedule_with_warmup(optimizer, round(args.warmup_ratio * steps), steps)
    batch_options = (tokenizer.pad_token_id, segments)

    state = State(args.state, parameters, optimizer, schedule)
    for epoch in range(state.epoch, args.epochs + 1):
        loss, seconds = train_epoch(model, state, train, args, batch_options)
        report = {
            "epoch": epoch,
            "train_loss": round(loss, 4),
            "train_s": round(seconds, 1),
            "examples_per_s": round(len(train) / seconds, 1),
        }
        print(json.dumps(report), flush=True)
    start = time.perf_counter()
    exact, f1 = measure(model, dev_questions, dev, args, batch_options)
    report = {
        "exact_match": round(exact, 4),
        "f1": round(f1, 4),
        "measure_s": round(time.perf_counter() - start, 1),
        # Linux counts in KiB.
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "trainable": sum(p.numel() for p in parameters),
        "all": sum(p.numel() for p in model.parameters()),
        **counts,
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
