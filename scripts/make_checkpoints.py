#!/usr/bin/env python3
"""Write the checkpoint variants of lora-models/tests/checkpoints.

One tiny RobertaForSequenceClassification in the forms that checkpoints come in, and a RobertaForMaskedLM
with its tied decoder spelled out. `expected.safetensors` holds the inputs and the logits of each form.

    pip install torch transformers safetensors
    python scripts/make_checkpoints.py lora-models/tests/checkpoints
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import RobertaConfig, RobertaForMaskedLM, RobertaForSequenceClassification

SHARDS = 3


def make_model(cls, seed):
    """A model whose every parameter, biases included, is random."""
    config = RobertaConfig(
        vocab_size=19, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=14, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5, num_labels=2,
    )
    torch.manual_seed(seed)
    model = cls(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            norm = name.endswith(("LayerNorm.weight", "layer_norm.weight"))
            parameter.copy_(1 + 0.2 * noise if norm else 0.2 * noise)
    return model


def plain_state(model):
    """The state dict as a saved file has it, tied weights only once."""
    tied = ("lm_head.decoder.weight", "lm_head.decoder.bias")
    return {k: v.detach().clone() for k, v in model.state_dict().items() if k not in tied}


def save_config(model, directory, **changes):
    """Write config.json, with `changes` to it."""
    config = model.config.to_dict() | {"architectures": [type(model).__name__]} | changes
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save(model, directory, state, **changes):
    save_config(model, directory, **changes)
    save_file({k: v.contiguous() for k, v in state.items()}, directory / "model.safetensors", {"format": "pt"})


def save_sharded(model, directory, state):
    """Split the tensors over several files, with the index that maps each name to its file."""
    save_config(model, directory)
    names = list(state)
    size = -(-len(names) // SHARDS)
    weight_map = {}
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        part = {name: state[name].contiguous() for name in names[shard * size:(shard + 1) * size]}
        save_file(part, directory / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def save_bin(model, directory, state):
    save_config(model, directory)
    torch.save(state, directory / "pytorch_model.bin")


def old_norm_names(state):
    """LayerNorm parameters under the names of early checkpoints."""
    old = {".LayerNorm.weight": ".LayerNorm.gamma", ".LayerNorm.bias": ".LayerNorm.beta"}
    renamed = {}
    for name, tensor in state.items():
        for new, earlier in old.items():
            name = name.replace(new, earlier)
        renamed[name] = tensor
    return renamed


@torch.no_grad()
def rounded_logits(model, state, dtype, inputs):
    """Logits in float32, from weights rounded to `dtype`; also returns the rounded weights."""
    rounded = {k: v.to(dtype) for k, v in state.items()}
    model.load_state_dict({k: v.float() for k, v in rounded.items()})
    logits = model(**inputs).logits
    model.load_state_dict(state)
    return logits, rounded


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)

    inputs = {
        "input_ids": torch.tensor([[0, 5, 11, 18, 7, 2], [0, 9, 3, 2, 1, 1]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]),
    }
    expected = dict(inputs)

    model = make_model(RobertaForSequenceClassification, args.seed)
    state = plain_state(model)
    for name, dtype in {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}.items():
        expected[f"{name}.logits"], rounded = rounded_logits(model, state, dtype, inputs)
        save(model, args.out / name, rounded, dtype=str(dtype).removeprefix("torch."))

    save_sharded(model, args.out / "sharded", state)
    save_bin(model, args.out / "bin", state)
    save(model, args.out / "gamma-beta", old_norm_names(state))
    positions = torch.arange(model.config.max_position_embeddings)[None]
    save(model, args.out / "position-ids", state | {"roberta.embeddings.position_ids": positions})
    encoder = {k.removeprefix("roberta."): v for k, v in state.items() if k.startswith("roberta.")}
    save(model, args.out / "no-prefix", encoder, architectures=["RobertaModel"])
    with torch.no_grad():
        expected["no-prefix.last_hidden_state"] = model.roberta(**inputs).last_hidden_state

    mlm = make_model(RobertaForMaskedLM, args.seed + 1)
    state = plain_state(mlm)
    state["lm_head.decoder.weight"] = state["roberta.embeddings.word_embeddings.weight"].clone()
    state["lm_head.decoder.bias"] = state["lm_head.bias"].clone()
    save(mlm, args.out / "tied-decoder", state)
    with torch.no_grad():
        expected["tied-decoder.logits"] = mlm(**inputs).logits
    save_file({k: v.contiguous() for k, v in expected.items()}, args.out / "expected.safetensors")


if __name__ == "__main__":
    main()
