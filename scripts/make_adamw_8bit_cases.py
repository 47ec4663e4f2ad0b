#!/usr/bin/env python3
"""Write the steps that bitsandbytes' 8-bit AdamW takes on a CPU, to lora-train/tests/bitsandbytes.

The values and gradients are made from their index, here and in lora-train/tests/adamw_8bit.rs. Of what
comes out every 7th is kept.

    pip install torch numpy safetensors bitsandbytes
    ATEN_CPU_CAPABILITY=avx2 python scripts/make_adamw_8bit_cases.py lora-train/tests/bitsandbytes
"""

import argparse
from pathlib import Path

import bitsandbytes
import numpy as np
import torch
from safetensors.torch import save_file

EVERY = 7
# The last block of the first is short; the second is too small for 8 bits.
SHAPES = {"large": (90, 100), "small": (40, 30)}
STEPS = 30
RECORDED = [1, 2, 10, 30]


def noise(count, seed):
    """Numbers from -0.5 to 0.5, exact in 32 bits."""
    index = np.arange(count, dtype=np.uint64) + np.uint64(seed * 7919)
    mixed = (index * 2654435761 + 12345) % 2**32 >> 8
    return mixed.astype(np.float32) / np.float32(2**24) - np.float32(0.5)


def gradient(shape, step):
    """Most gradients are small, and every 50th value has none until step 10."""
    made = noise(np.prod(shape), step)
    made = made * made * made
    if step < 10:
        made[::50] = 0
    return torch.from_numpy(made.reshape(shape))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    tensors = {}
    for name, shape in SHAPES.items():
        parameter = torch.nn.Parameter(torch.from_numpy(noise(np.prod(shape), 1000).reshape(shape)))
        optimizer = bitsandbytes.optim.AdamW8bit([parameter], lr=1e-2, weight_decay=0.1)
        for step in range(1, STEPS + 1):
            parameter.grad = gradient(shape, step)
            optimizer.step()
            if step not in RECORDED:
                continue
            tensors[f"{name}.{step}.values"] = parameter.detach().flatten()[::EVERY].clone()
            state = optimizer.state[parameter]
            if state["state1"].dtype == torch.uint8:
                for moment in ("1", "2"):
                    tensors[f"{name}.{step}.codes_{moment}"] = state[f"state{moment}"].flatten()[::EVERY].clone()
                    tensors[f"{name}.{step}.scales_{moment}"] = state[f"absmax{moment}"].clone()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adamw_8bit.safetensors")


if __name__ == "__main__":
    main()
