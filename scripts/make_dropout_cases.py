#!/usr/bin/env python3
"""Write how much each dropout of transformers' models moves their logits, to lora-models/tests/dropout.

For the small models of lora-models/tests/golden, with one kind of dropout at a time: mean and standard
deviation of each logit over many forward passes in training mode.

    pip install torch transformers
    python scripts/make_dropout_cases.py lora-models/tests
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

P = 0.3
DRAWS, ROUNDS = 5000, 20
KINDS = {
    "bert-seqcls-base": ["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"],
    "roberta-seqcls-base": ["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"],
    "gpt2-seqcls-base": ["embd_pdrop", "attn_pdrop", "resid_pdrop"],
}


def case(tests, model_name, kind):
    folder = tests / "golden" / model_name
    model = AutoModelForSequenceClassification.from_pretrained(folder / "base", **{kind: P}).train()
    recorded = load_file(folder / "io.safetensors")
    inputs = {
        name.removeprefix("in."): value.repeat(DRAWS, 1)
        for name, value in recorded.items()
        if name.startswith("in.") and name != "in.labels"
    }
    rows = recorded["base.logits"].shape[0]
    with torch.no_grad():
        logits = torch.cat([model(**inputs).logits.reshape(DRAWS, rows, -1) for _ in range(ROUNDS)]).double()
    return {
        "model": model_name,
        "dropout": kind,
        "p": P,
        "means": logits.mean(0).flatten().tolist(),
        "deviations": logits.std(0).flatten().tolist(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", type=Path)
    tests = parser.parse_args().tests
    torch.manual_seed(0)
    cases = [case(tests, model, kind) for model, kinds in KINDS.items() for kind in kinds]
    folder = tests / "dropout"
    folder.mkdir(exist_ok=True)
    (folder / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
