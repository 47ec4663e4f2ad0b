#!/usr/bin/env python3
"""Write what bitsandbytes' CPU library makes of a weight, to lora-core/tests/bitsandbytes.

The weights are made from their index, here and in lora-core/src/quantization/tests.rs. Of the
dequantized values every 7th is kept.

    pip install torch numpy safetensors bitsandbytes
    ATEN_CPU_CAPABILITY=avx2 python scripts/make_quantization_cases.py lora-core/tests/bitsandbytes
"""

import argparse
from pathlib import Path

import bitsandbytes.functional as bnb
import bitsandbytes.nn
import numpy as np
import torch
from safetensors.torch import save_file

EVERY = 7


def values(shape):
    """Numbers between -1/8 and 1/8, most of them small, exact in 32 bits; some of them zero."""
    index = np.arange(np.prod(shape), dtype=np.uint64)
    mixed = (index * 2654435761 + 12345) % 2**32 >> 8
    uniform = mixed.astype(np.float32) / np.float32(2**24) - np.float32(0.5)
    made = uniform * uniform * uniform
    made[64:128] = 0
    return torch.from_numpy(made.reshape(shape))


def four_bit(tensors):
    for kind in ["nf4", "fp4"]:
        for name, shape in {"short": (6, 64), "long": (104, 192)}.items():
            for nested in [False, True]:
                codes, state = bnb.quantize_4bit(
                    values(shape), blocksize=64, quant_type=kind, compress_statistics=nested
                )
                left = bnb.dequantize_4bit(codes, state)
                key = f"{kind}.{name}.{'double' if nested else 'plain'}"
                tensors[f"{key}.absmax"] = state.absmax
                tensors[f"{key}.left"] = left.flatten()[::EVERY].clone()
                if nested:
                    tensors[f"{key}.nested_absmax"] = state.state2.absmax
                    tensors[f"{key}.offset"] = state.offset.reshape(1)
                else:
                    tensors[f"{key}.codes"] = codes.flatten()


def int8(tensors):
    # As `Linear8bitLt` does it.
    weight = values((24, 96)).half()
    codes, scales, _ = torch.ops.bitsandbytes.int8_vectorwise_quant(weight)
    tensors["int8.codes"] = codes
    tensors["int8.absmax"] = scales
    tensors["int8.left"] = bnb.int8_vectorwise_dequant(codes, scales).flatten()[::EVERY].clone()


def blockwise(tensors):
    for signed in [True, False]:
        key = "signed" if signed else "unsigned"
        code = bnb.create_dynamic_map(signed=signed)
        given = values((1, 3000)).flatten()
        given = given if signed else given * given
        codes, state = bnb.quantize_blockwise(given, code=code, blocksize=256)
        tensors[f"{key}.map"] = code
        tensors[f"{key}.codes"] = codes
        tensors[f"{key}.absmax"] = state.absmax
        tensors[f"{key}.left"] = bnb.dequantize_blockwise(codes, state)[::EVERY].clone()


def checkpoint():
    """Linear layers as transformers saves them: the state of bitsandbytes' own modules."""
    tensors = {}
    for name, made in {
        "nf4": bitsandbytes.nn.Linear4bit(64, 32, quant_type="nf4", compress_statistics=True),
        "fp4": bitsandbytes.nn.Linear4bit(64, 32, quant_type="fp4", compress_statistics=False),
        "int8": bitsandbytes.nn.Linear8bitLt(64, 32, has_fp16_weights=False),
    }.items():
        with torch.no_grad():
            made.weight.data = values((32, 64))
            made.bias.zero_()
        state = made.to("cpu").state_dict()
        tensors |= {f"{name}.{key}": value.clone() for key, value in state.items()}
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    # A sum over several threads is rounded differently from run to run.
    torch.set_num_threads(1)
    tensors = {}
    four_bit(tensors)
    int8(tensors)
    blockwise(tensors)
    save_file(tensors, folder / "cases.safetensors")
    save_file(checkpoint(), folder / "checkpoint.safetensors")


if __name__ == "__main__":
    main()
