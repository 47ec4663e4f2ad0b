#!/usr/bin/env python3
"""Write the loralib checkpoints of lora-core/tests/peft/loralib.

Random factors under loralib's names, in the forms that its checkpoints come in, and the updates they
stand for, from the formulas of loralib's layers: `expected.safetensors`, keyed `<file>/<module>`, each
`[out, in]` and with the scale alpha / r in it.

    pip install torch safetensors
    python scripts/make_loralib_cases.py lora-core/tests/peft/loralib
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

# The model of lora-core/tests/import.rs.
TOKENS, WIDTH, CLASSES, LAYERS = 7, 4, 3, 2
ALPHA = 6.0
QUERY_AND_VALUE = [True, False, True]

generator = torch.Generator().manual_seed(11)


def randn(*shape):
    return torch.randn(*shape, generator=generator)


def factors(state, module, r, d_in, d_out):
    """Factors of a Linear, or of an Embedding of `d_in` entries. Returns the update."""
    a, b = randn(r, d_in), randn(d_out, r)
    state[f"{module}.lora_A"], state[f"{module}.lora_B"] = a, b
    return (b @ a) * (ALPHA / r)


def merged_factors(state, module, r, d_in, d_out, enable_lora):
    """Factors of a MergedLinear. Returns the update, as its `merge_AB` and `zero_pad` have it."""
    n, parts = sum(enable_lora), len(enable_lora)
    a, b = randn(r * n, d_in), randn(d_out // parts * n, r)
    state[f"{module}.lora_A"], state[f"{module}.lora_B"] = a, b
    delta = F.conv1d(a.unsqueeze(0), b.unsqueeze(-1), groups=n).squeeze(0)
    rows = torch.zeros(parts, d_out // parts, dtype=torch.bool)
    rows[enable_lora] = True
    padded = delta.new_zeros(d_out, d_in)
    padded[rows.view(-1)] = delta
    return padded * (ALPHA / r)


def linear():
    """Linear layers of two ranks, an embedding, and the head."""
    state, expected = {}, {}
    expected["embed"] = factors(state, "embed", 2, TOKENS, WIDTH)
    for i in range(LAYERS):
        name = f"layers.{i}.c_proj"
        expected[name] = factors(state, name, 1 + i, WIDTH, WIDTH)
    state["classifier.dense.weight"] = randn(WIDTH, WIDTH)
    state["classifier.dense.bias"] = randn(WIDTH)
    state["classifier.out_proj.weight"] = randn(CLASSES, WIDTH)
    state["classifier.out_proj.bias"] = randn(CLASSES)
    return state, expected


def merged():
    """MergedLinear layers, below a dictionary and a wrapper, beside what is no tensor."""
    state, expected = {}, {}
    for i in range(LAYERS):
        name = f"layers.{i}.c_attn"
        expected[name] = merged_factors(state, name, 2, WIDTH, 3 * WIDTH, QUERY_AND_VALUE)
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    return {"model_state_dict": wrapped, "epoch": 3}, expected


def merged_all():
    """A MergedLinear with every part enabled, beside a plain layer."""
    state, expected = {}, {}
    expected["layers.0.c_attn"] = merged_factors(state, "layers.0.c_attn", 1, WIDTH, 3 * WIDTH, [True] * 3)
    expected["layers.1.c_proj"] = factors(state, "layers.1.c_proj", 3, WIDTH, WIDTH)
    return state, expected


def bias():
    """bias='lora_only': the biases of the layers with factors. In float16."""
    state, expected = {}, {}
    for i in range(LAYERS):
        name = f"layers.{i}.c_proj"
        expected[name] = factors(state, name, 2, WIDTH, WIDTH)
        state[f"{name}.bias"] = randn(WIDTH)
        for key in [f"{name}.lora_A", f"{name}.lora_B", f"{name}.bias"]:
            state[key] = state[key].half()
        a, b = (state[f"{name}.{factor}"].float() for factor in ("lora_A", "lora_B"))
        expected[name] = (b @ a) * (ALPHA / 2)
    return state, expected


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    everything = {}
    for name, make in {"linear": linear, "merged": merged, "merged_all": merged_all, "bias": bias}.items():
        state, expected = make()
        torch.save(state, out / f"{name}.bin")
        everything |= {f"{name}/{module}": delta.contiguous() for module, delta in expected.items()}
    save_file(everything, out / "expected.safetensors", {"format": "pt"})


if __name__ == "__main__":
    main()
