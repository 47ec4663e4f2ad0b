#!/usr/bin/env python3
"""The time of one training step with transformers and PEFT on the CPU: `examples/bench` for PyTorch.

    pip install torch transformers peft bitsandbytes
    python scripts/run_peft_step.py --arch roberta-base --batch 16 --seq 64
    python scripts/run_peft_step.py --base nf4

Random weights, no padding, no dropout before the adapters. With `--base nf4`, the linear layers are
bitsandbytes' with double quantization, the head's apart. Prints one JSON line with the keys of
`examples/bench`: step_s and forward_s are medians over the steps after two warm-ups, peak_rss_mb is the
process's.
"""

import argparse
import json
import resource
import statistics
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}
ARCHITECTURES = {
    # model, adapted modules, kind of task, highest token id
    "roberta-base": (
        lambda: RobertaForSequenceClassification(RobertaConfig(**ROBERTA, num_labels=2)),
        "query,value",
        "SEQ_CLS",
        50_000,
    ),
    "minilm": (
        lambda: BertForSequenceClassification(BertConfig(**MINILM, num_labels=2)),
        "query,value",
        "SEQ_CLS",
        30_000,
    ),
    "gpt2": (lambda: GPT2LMHeadModel(GPT2Config()), "c_attn", "CAUSAL_LM", 50_000),
}


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", choices=ARCHITECTURES, default="roberta-base")
    parser.add_argument("--batch", type=int, default=16, help="sequences in a batch")
    parser.add_argument("--seq", type=int, default=64, help="tokens in a sequence")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--targets", help="adapted modules, or all-linear")
    parser.add_argument("--mode", choices=["lora", "full"], default="lora")
    parser.add_argument("--base", choices=["f32", "nf4"], default="f32", help="how frozen weights are stored")
    parser.add_argument("--steps", type=int, default=8, help="steps that are timed")
    parser.add_argument("--matmul-precision", choices=["highest", "high", "medium"], default="highest")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def quantize(model):
    """Packs the weights of linear layers, but for the head's."""
    import bitsandbytes as bnb

    linear = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.startswith(("classifier", "lm_head"))
    ]
    if not linear:
        raise SystemExit("--base nf4: this architecture has no linear layers that bitsandbytes packs")
    for name, module in linear:
        packed = bnb.nn.Linear4bit(
            module.in_features,
            module.out_features,
            bias=module.bias is not None,
            compute_dtype=torch.float32,
            compress_statistics=True,
            quant_type="nf4",
        )
        packed.weight = bnb.nn.Params4bit(
            module.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4"
        )
        packed.bias = module.bias
        parent, _, child = name.rpartition(".")
        # Moving it to a device is what quantizes it.
        setattr(model.get_submodule(parent), child, packed.to("cpu"))
    model.is_loaded_in_4bit = True
    return model


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision(args.matmul_precision)
    torch.manual_seed(0)
    build, usual, task, ids = ARCHITECTURES[args.arch]
    model = build()
    if args.base == "nf4":
        model = quantize(model)
    targets = args.targets or usual
    if args.mode == "lora":
        names = targets if targets == "all-linear" else targets.split(",")
        config = LoraConfig(
            r=args.rank, lora_alpha=args.alpha, target_modules=names, lora_dropout=0.0, task_type=task
        )
        model = get_peft_model(model, config)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-4)
    tokens = torch.randint(5, ids, (args.batch, args.seq))
    labels = tokens if task == "CAUSAL_LM" else torch.arange(args.batch) % 2
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}

    steps, forwards = [], []
    for step in range(args.steps + 2):
        start = time.perf_counter()
        loss = model(**batch).loss
        forward = time.perf_counter() - start
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step >= 2:
            steps.append(time.perf_counter() - start)
            forwards.append(forward)
    median = statistics.median(steps)
    report = {
        "arch": args.arch,
        "mode": args.mode,
        "batch": args.batch,
        "seq": args.seq,
        "rank": args.rank,
        "targets": targets,
        "base": args.base,
        "trainable": sum(p.numel() for p in trained),
        "step_s": round(median, 4),
        "forward_s": round(statistics.median(forwards), 4),
        "best_step_s": round(min(steps), 4),
        "tokens_per_s": round(args.batch * args.seq / median, 1),
        # Linux counts in KiB.
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
