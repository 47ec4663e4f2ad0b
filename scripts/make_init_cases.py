#!/usr/bin/env python3
"""Write the cases of lora-core/tests/peft/init: what PEFT makes of `init_lora_weights`.

    pip install torch peft safetensors scipy bitsandbytes
    python scripts/make_init_cases.py lora-core/tests/peft/init --seed 5

`base.safetensors` has the weights of three linear layers, an input and the output. Each case is a
folder with PEFT's adapter as it starts (`initial`), what is left of the base (`rest.safetensors`),
the adapter after its factors were moved (`trained`) with the output it gives
(`output.safetensors`), and for PiSSA and OLoRA the same adapter as PEFT converts it to plain LoRA
(`converted`).

`eva` has a model of its own with its data (`data.safetensors`) and PEFT's adapter.
"""

import argparse
import copy
import inspect
import shutil
import tempfile
from pathlib import Path

import bitsandbytes
import peft.tuners.lora.layer
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from peft import EvaConfig, LoftQConfig, LoraConfig, get_peft_model, initialize_lora_eva_weights
from peft.utils import loftq_utils
from safetensors.torch import save_file

PATTERNS = dict(rank_pattern={"third": 2}, alpha_pattern={"second": 12})
PLAIN = dict(r=4, lora_alpha=6, target_modules="first|second|third")

# name: LoraConfig arguments, and whether PEFT converts it
CASES = {
    "pissa": (dict(init_lora_weights="pissa", **PATTERNS), True),
    "pissa-rslora": (dict(init_lora_weights="pissa", use_rslora=True), True),
    "pissa-dora": (dict(init_lora_weights="pissa", use_dora=True), False),
    "pissa-niter": (dict(init_lora_weights="pissa_niter_12"), False),
    "olora": (dict(init_lora_weights="olora", **PATTERNS), True),
    "loftq-4": (dict(init_lora_weights="loftq", loftq_config=LoftQConfig(4, 1)), False),
    "loftq-4-alternating": (dict(init_lora_weights="loftq", loftq_config=LoftQConfig(4, 3)), False),
    "loftq-8": (dict(init_lora_weights="loftq", loftq_config=LoftQConfig(8, 1)), False),
}


def dequantize(quantized, state):
    """bitsandbytes' portable dequantization: its CPU kernel takes a wrong scale for blocks that span
    rows of 16 values."""
    values = quantized.reshape(-1)
    return _dequantize_4bit_compute(values, state.absmax, state.code, 64, state.shape, state.dtype)


def loftq_on_cpu():
    """Let PEFT's LoftQ, which insists on a GPU, run where there is none."""
    bitsandbytes.functional.dequantize_4bit = dequantize
    source = inspect.getsource(loftq_utils.loftq_init).replace('"cuda"', '"cpu"')
    exec(compile(source, loftq_utils.__file__, "exec"), vars(loftq_utils))
    peft.tuners.lora.layer.loftq_init = loftq_utils.loftq_init


def decaying(rows, columns, generator):
    """A random matrix whose singular values halve, so that iterations converge."""
    u, _, v = torch.linalg.svd(torch.randn(rows, columns, generator=generator), full_matrices=False)
    return u @ torch.diag(2.0 * 0.5 ** torch.arange(min(rows, columns))) @ v


class Layers(torch.nn.Module):
    def __init__(self, generator):
        super().__init__()
        self.first = torch.nn.Linear(12, 10)
        self.second = torch.nn.Linear(10, 16)
        self.third = torch.nn.Linear(16, 16, bias=False)
        for layer in self.children():
            layer.weight.data = decaying(*layer.weight.shape, generator)
            if layer.bias is not None:
                layer.bias.data.normal_(generator=generator)

    def forward(self, x):
        return self.third(torch.tanh(self.second(torch.tanh(self.first(x)))))


def save(model, folder, **arguments):
    """PEFT's adapter folder, without the card it writes."""
    model.save_pretrained(folder, **arguments)
    (folder / "README.md").unlink()


@torch.no_grad()
def write_case(out, base, x, arguments, converts, generator):
    config = LoraConfig(**PLAIN | arguments)
    model = get_peft_model(copy.deepcopy(base), config)
    config = model.peft_config["default"]
    save(model, out / "initial")
    layers = model.base_model.model.named_children()
    rest = {f"{name}.weight": layer.base_layer.weight.contiguous() for name, layer in layers}
    save_file(rest, out / "rest.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        initial = Path(folder) / "initial"
        init, config.init_lora_weights = config.init_lora_weights, True
        model.save_pretrained(initial)
        config.init_lora_weights = init
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        save(model, out / "trained")
        output = model(x).contiguous()
        save_file({"output": output}, out / "output.safetensors")
        if converts:
            save(model, out / "converted", path_initial_model_for_weight_conversion=str(initial))


class Attention(torch.nn.Module):
    def __init__(self, generator):
        super().__init__()
        self.query = torch.nn.Linear(16, 12)
        self.key = torch.nn.Linear(16, 12)
        self.dense = torch.nn.Linear(12, 20)
        self.last = torch.nn.Linear(20, 6)
        for parameter in self.parameters():
            parameter.data.normal_(generator=generator)

    def forward(self, x, z):
        mixed = torch.tanh(self.query(x)) * torch.sigmoid(self.key(x))
        return self.last(z + 0.2 * torch.tanh(self.dense(mixed)))


def eva_batches(generator):
    """Batches with a mask and labels, as a language model would get them.

    `x` has few directions with most of the variance, `z` has many with little each.
    """
    spread = 2.0 * 0.6 ** torch.arange(16)
    flat = 2.0 * 0.98 ** torch.arange(20)
    flat[0] *= 1.4
    batches = []
    for _ in range(6):
        x = torch.randn(8, 10, 16, generator=generator) * spread
        z = torch.randn(8, 10, 20, generator=generator) * flat
        mask = torch.ones(8, 10, dtype=torch.int64)
        mask[:, 8:] = torch.randint(0, 2, (8, 2), generator=generator)
        labels = torch.randint(0, 5, (8, 10), generator=generator)
        labels[:, :2] = -100
        # PEFT looks for the ids even if there is a mask.
        batches.append({"x": x, "z": z, "attention_mask": mask, "labels": labels, "input_ids": mask})
    return batches


def write_eva(out, generator):
    base = Attention(generator)
    batches = eva_batches(generator)
    tensors = {name: tensor.contiguous() for name, tensor in base.state_dict().items()}
    for i, batch in enumerate(batches):
        tensors |= {f"{i}.{name}": batch[name].float() for name in ["x", "z", "attention_mask", "labels"]}
    save_file(tensors, out / "data.safetensors")
    layers = ["query", "key", "dense", "last"]
    for name, r, targets, eva in [
        ("redistributed", 2, layers, EvaConfig(rho=2.0, tau=0.99)),
        ("whitened", 3, layers[:3], EvaConfig(rho=1.0, tau=0.999, whiten=True, use_label_mask=False)),
        ("dropped", 1, layers, EvaConfig(rho=3.0, tau=0.99, adjust_scaling_factors=False)),
    ]:
        config = LoraConfig(r=r, lora_alpha=4, target_modules=targets, init_lora_weights="eva",
                            eva_config=eva)
        model = get_peft_model(copy.deepcopy(base), config)
        initialize_lora_eva_weights(model, batches, show_progress_bar=False,
                                    forward_fn=lambda model, inputs: model(inputs["x"], inputs["z"]))
        save(model, out / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    shutil.rmtree(arguments.out, ignore_errors=True)
    (arguments.out / "eva").mkdir(parents=True)
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    loftq_on_cpu()
    base = Layers(generator).requires_grad_(False)
    x = torch.randn(5, 12, generator=generator)
    tensors = {name: tensor.contiguous() for name, tensor in base.state_dict().items()}
    save_file(tensors | {"x": x, "output": base(x).contiguous()}, arguments.out / "base.safetensors")
    for name, (config, converts) in CASES.items():
        (arguments.out / name).mkdir()
        write_case(arguments.out / name, base, x, config, converts, generator)
    write_eva(arguments.out / "eva", generator)


if __name__ == "__main__":
    main()
