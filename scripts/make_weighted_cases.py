#!/usr/bin/env python3
"""Write the cases of lora-core/tests/peft/weighted: adapters combined by PEFT's `add_weighted_adapter`.

The adapters are those of the model in lora-core/tests/common, each in a folder as PEFT saves it.
`cases.json` has the arguments of each combination and what PEFT says of the result;
`combined.safetensors` has the result's factors and its update for each module, laid out as in Burn:

    <case>.<module>.a      [in, r]    (lora_A transposed)
    <case>.<module>.b      [r, out]   (lora_B transposed)
    <case>.<module>.delta  [in, out]  (get_delta_weight)

The factors of a singular value decomposition are not unique, so such a case has the update only.
Random pruning is covered at density 1, where nothing is left to chance.

    pip install torch peft safetensors
    python scripts/make_weighted_cases.py lora-core/tests/peft/weighted --seed 7
"""

import argparse
import json
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import nn

TOKENS, WIDTH, INNER, CLASSES = 11, 8, 6, 3


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, INNER, bias=False)
        self.down = nn.Linear(INNER, WIDTH)


class Model(nn.Module):
    """The modules of the Rust tests' model; it is never run."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(TOKENS, WIDTH)
        self.layers = nn.ModuleList([Block(), Block()])
        self.classifier = nn.Linear(WIDTH, CLASSES)


PATTERN = {"layers.0.query": 3}

ADAPTERS = {
    "one": dict(r=2, lora_alpha=6, target_modules=["query", "value", "embed"]),
    "two": dict(r=2, lora_alpha=3, target_modules=["query", "down"]),
    "three": dict(r=2, lora_alpha=4, target_modules=["query", "value", "embed"], use_rslora=True),
    "wide": dict(r=4, lora_alpha=4, target_modules=["query", "down", "embed"]),
    "patterned": dict(r=2, lora_alpha=3, target_modules=["query", "value"], rank_pattern=PATTERN,
                      alpha_pattern={"value": 5}),
    "alike": dict(r=2, lora_alpha=2, target_modules=["query", "up"], rank_pattern=PATTERN),
    "by_regex": dict(r=2, lora_alpha=2, target_modules=r".*\.(query|up)"),
    "other_regex": dict(r=2, lora_alpha=2, target_modules=r"layers\.1\.(query|down)"),
}

PAIR = [("one", 0.7), ("two", 0.4)]
NEGATIVE = [("one", 0.7), ("two", -0.4)]
ALL = [("one", 0.5), ("two", -1.25), ("three", 0.8)]
MIXED = [("one", 0.7), ("wide", -0.6)]

# name: (adapters and weights, combination_type, further arguments)
CASES = {
    "linear": (PAIR, "linear", {}),
    "linear-negative": (NEGATIVE, "linear", {}),
    "linear-three": (ALL, "linear", {}),
    "linear-ranks": ([("patterned", 0.9), ("alike", -0.3)], "linear", {}),
    "linear-regex": ([("by_regex", 0.9), ("other_regex", 0.3)], "linear", {}),
    "single": ([("one", 0.5)], "svd", {}),
    "cat": (PAIR, "cat", {}),
    "cat-negative": (MIXED, "cat", {}),
    "cat-ranks": ([("one", 0.5), ("patterned", 1.5), ("wide", -1.0)], "cat", {}),
    "svd": (MIXED, "svd", {}),
    "svd-rank": (ALL, "svd", dict(svd_rank=3)),
    "svd-ranks": ([("patterned", 0.9), ("two", -0.3)], "svd", {}),
    "ties-total": (ALL, "ties", dict(density=0.6, majority_sign_method="total")),
    "ties-frequency": (ALL, "ties", dict(density=0.6, majority_sign_method="frequency")),
    "ties-svd-total": (ALL, "ties_svd", dict(density=0.4, majority_sign_method="total", svd_rank=5)),
    "ties-svd-frequency": (ALL, "ties_svd", dict(density=0.4, majority_sign_method="frequency", svd_rank=5)),
    "magnitude-prune": (NEGATIVE, "magnitude_prune", dict(density=0.5)),
    "magnitude-prune-svd": (MIXED, "magnitude_prune_svd", dict(density=0.3)),
    "dare-linear": (NEGATIVE, "dare_linear", dict(density=1.0)),
    "dare-linear-svd": (NEGATIVE, "dare_linear_svd", dict(density=1.0)),
    "dare-ties": (ALL, "dare_ties", dict(density=1.0)),
    "dare-ties-svd": (ALL, "dare_ties_svd", dict(density=1.0, majority_sign_method="frequency")),
}


def make_model(seed):
    """All adapters on one base, every factor random."""
    first, *others = ADAPTERS
    model = get_peft_model(Model(), LoraConfig(**ADAPTERS[first]), adapter_name=first)
    for name in others:
        model.add_adapter(name, LoraConfig(**ADAPTERS[name]))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model


def save_adapters(model, directory):
    """PEFT's folders, without the model cards and with sets as sorted lists."""
    model.save_pretrained(directory, selected_adapters=list(ADAPTERS))
    (directory / "README.md").unlink(missing_ok=True)
    for name in ADAPTERS:
        path = directory / name / "adapter_config.json"
        config = json.loads(path.read_text()).items()
        config = {key: sorted(value) if isinstance(value, list) else value for key, value in config}
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def combine(model, case, adapters, combination_type, arguments, tensors):
    """Add the case's adapter, keep its tensors and take it off again; returns what PEFT made of it."""
    names, weights = zip(*adapters)
    model.add_weighted_adapter(list(names), list(weights), case, combination_type, **arguments)
    config = model.peft_config[case]
    for path, module in model.base_model.model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        if case in module.lora_embedding_A:
            a, b = module.lora_embedding_A[case], module.lora_embedding_B[case]
            delta = module.get_delta_weight(case)
        elif case in module.lora_A:
            a, b = module.lora_A[case].weight, module.lora_B[case].weight
            delta = module.get_delta_weight(case).T
        else:
            continue
        found = {"delta": delta} if combination_type.endswith("svd") else {"a": a.T, "b": b.T, "delta": delta}
        tensors |= {f"{case}.{path}.{key}": t.detach().contiguous().clone() for key, t in found.items()}
    targets = config.target_modules
    result = dict(r=config.r, lora_alpha=config.lora_alpha,
                  target_modules=targets if isinstance(targets, str) else sorted(targets))
    model.delete_adapter(case)
    return dict(adapters=adapters, combination_type=combination_type, **arguments, result=result)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    # PEFT warns that a density of 1 prunes nothing, and that this model has no configuration.
    warnings.simplefilter("ignore")

    model = make_model(arguments.seed)
    save_adapters(model, arguments.directory)
    tensors = {}
    cases = {name: combine(model, name, *case, tensors) for name, case in CASES.items()}
    save_file(tensors, arguments.directory / "combined.safetensors")
    (arguments.directory / "cases.json").write_text(json.dumps(cases, indent=2) + "\n")


if __name__ == "__main__":
    main()
