#!/usr/bin/env python3
"""Print how many parameters PEFT trains, for models built from their configuration alone.

`trainable` and `all` are PEFT's get_nb_trainable_parameters(); a module saved with the adapter counts twice
in `all`, as the trained copy and as the frozen original. `bare` counts it once: base model plus LoRA.
Nothing is downloaded, and the weights take no memory.

    pip install torch transformers peft
    python scripts/count_parameters.py
"""

import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification


def roberta_base():
    config = RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, num_labels=2)
    return RobertaForSequenceClassification(config)


def bert_base():
    return BertForSequenceClassification(BertConfig(num_labels=2))


CASES = [
    ("roberta-base", roberta_base, dict(r=8, target_modules=["query", "value"], task_type="SEQ_CLS")),
    ("roberta-base", roberta_base, dict(r=4, target_modules=["query", "output.dense"], task_type="SEQ_CLS")),
    ("bert-base-uncased", bert_base, dict(r=1, target_modules=["query", "key", "value", "dense", "classifier"])),
    ("bert-base-uncased", bert_base, dict(r=1, target_modules="all-linear")),
    ("bert-base-uncased", bert_base, dict(r=1, target_modules="all-linear", task_type="SEQ_CLS")),
]


def count(parameters):
    return sum(parameter.numel() for parameter in parameters)


def main():
    for name, build, arguments in CASES:
        with torch.device("meta"):
            model = build()
            base = count(model.parameters())
            model = get_peft_model(model, LoraConfig(**arguments))
        trainable, total = model.get_nb_trainable_parameters()
        lora = count(p for n, p in model.named_parameters() if "lora_" in n)
        print(f"{name}, 2 labels, LoraConfig({', '.join(f'{k}={v!r}' for k, v in arguments.items())})")
        print(f"  trainable {trainable:,}  all {total:,}  bare {base + lora:,}  base {base:,}  lora {lora:,}")


if __name__ == "__main__":
    main()
