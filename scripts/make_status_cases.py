#!/usr/bin/env python3
"""Write lora-core/tests/peft/status/cases.json: what PEFT says of a model's adapters.

The model is that of lora-core/tests/common, with the adapters `one` (with a copy of the classifier)
and `two`, in several states; each has PEFT's `get_layer_status` and `get_model_status`.

    pip install torch peft
    python scripts/make_status_cases.py lora-core/tests/peft/status
"""

import argparse
import dataclasses
import json
from pathlib import Path

import peft
import torch
from peft import LoraConfig, get_peft_model
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
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(TOKENS, WIDTH)
        self.layers = nn.ModuleList([Block(), Block()])
        self.shift = nn.Parameter(torch.zeros(WIDTH))
        self.mix = nn.Parameter(torch.zeros(WIDTH, WIDTH))
        self.classifier = nn.Linear(WIDTH, CLASSES)


def adapted():
    one = LoraConfig(r=2, target_modules=["query", "value", "embed"], modules_to_save=["classifier"])
    two = LoraConfig(r=3, target_modules=["query", "down"])
    model = get_peft_model(Model(), one, adapter_name="one")
    model.add_adapter("two", two)
    model.set_adapter("one")
    return model


def fresh(model):
    pass


def switched(model):
    model.set_adapter("two")


def merged(model):
    model.merge_adapter()


def disabled(model):
    model.base_model.disable_adapter_layers()


def one_layer_switched(model):
    model.base_model.model.layers[0].query.set_adapter("two")


def one_layer_merged(model):
    model.base_model.model.layers[1].query.merge()


def one_layer_frozen(model):
    layer = model.base_model.model.layers[0].value
    for factor in (layer.lora_A, layer.lora_B):
        factor["one"].requires_grad_(False)


def status(model):
    layers = [dataclasses.asdict(layer) for layer in model.get_layer_status()]
    for layer in layers:
        layer["name"] = layer["name"].removeprefix("model.")
    return {"layers": layers, "model": dataclasses.asdict(model.get_model_status())}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    cases = {}
    states = [fresh, switched, merged, disabled, one_layer_switched, one_layer_merged, one_layer_frozen]
    for change in states:
        model = adapted()
        change(model)
        cases[change.__name__] = status(model)
    versions = {"torch": torch.__version__, "peft": peft.__version__}
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "cases.json"
    path.write_text(json.dumps({"versions": versions, "cases": cases}, indent=1) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
