#!/usr/bin/env python3
"""A checkpoint of one of GPT-2's shapes with random weights, in shards, for what only takes time and memory.

    pip install numpy safetensors
    python scripts/make_random_gpt2.py xl gpt2-xl-random
    cargo run --release --example bench -- --arch gpt2 --model gpt2-xl-random --base nf4 --batch 1 --seq 256

The weights have GPT-2's own spread at the start of training. Memory holds one shard at a time; the files
of the XL shape take 6.2 GB.
"""

import argparse
import json
import pathlib

import numpy
from safetensors.numpy import save_file

# name: (layers, width, heads)
SHAPES = {"small": (12, 768, 12), "medium": (24, 1024, 16), "large": (36, 1280, 20), "xl": (48, 1600, 25)}
VOCABULARY, POSITIONS = 50257, 1024
BLOCKS_PER_SHARD = 8


def normal(generator, *shape):
    return generator.standard_normal(shape, dtype=numpy.float32) * numpy.float32(0.02)


def ones(size):
    return numpy.ones(size, numpy.float32)


def zeros(size):
    return numpy.zeros(size, numpy.float32)


def block(generator, width):
    layers = {
        "attn.c_attn": (width, 3 * width),
        "attn.c_proj": (width, width),
        "mlp.c_fc": (width, 4 * width),
        "mlp.c_proj": (4 * width, width),
    }
    tensors = {}
    for name, shape in layers.items():
        tensors[f"{name}.weight"] = normal(generator, *shape)
        tensors[f"{name}.bias"] = zeros(shape[1])
    for name in ("ln_1", "ln_2"):
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = ones(width), zeros(width)
    return tensors


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    layers, width, heads = SHAPES[args.shape]
    args.out.mkdir(parents=True)
    generator = numpy.random.default_rng(0)

    outside = {
        "wte.weight": normal(generator, VOCABULARY, width),
        "wpe.weight": normal(generator, POSITIONS, width),
        "ln_f.weight": ones(width),
        "ln_f.bias": zeros(width),
    }
    starts = list(range(0, layers, BLOCKS_PER_SHARD))
    count, places, size = 1 + len(starts), {}, 0
    for number in range(count):
        if number == 0:
            tensors = outside
        else:
            first = starts[number - 1]
            tensors = {
                f"h.{layer}.{name}": tensor
                for layer in range(first, min(first + BLOCKS_PER_SHARD, layers))
                for name, tensor in block(generator, width).items()
            }
        file = f"model-{number + 1:05}-of-{count:05}.safetensors"
        save_file(tensors, args.out / file)
        places.update(dict.fromkeys(tensors, file))
        size += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (args.out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": VOCABULARY,
        "n_positions": POSITIONS,
        "n_embd": width,
        "n_layer": layers,
        "n_head": heads,
    }
    (args.out / "config.json").write_text(json.dumps(config, indent=1))


if __name__ == "__main__":
    main()
