#!/usr/bin/env python3
"""Write what PEFT's optimizers do, to lora-train/tests/peft.

Three steps of `create_loraplus_optimizer` (over torch's AdamW) and of `create_lorafa_optimizer`, from
fixed gradients. A file has the tensors `<parameter>/start`, `<parameter>/gradient.<step>` and
`<parameter>/step.<step>`, under the names that PEFT saves parameters by.

    pip install torch transformers peft safetensors
    python scripts/make_lora_plus_cases.py lora-train/tests/peft
"""

import argparse
from pathlib import Path

import peft.optimizers.lorafa
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_lorafa_optimizer, create_loraplus_optimizer
from safetensors.torch import save_file

# The model and the settings of lora-train/tests/optimizers.rs.
TOKENS, WIDTH, CLASSES, STEPS = 5, 4, 3, 3
LR, RATIO, LR_EMBEDDING, WEIGHT_DECAY = 1e-2, 8.0, 3e-3, 0.1


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(TOKENS, WIDTH)
        self.query = torch.nn.Linear(WIDTH, WIDTH)
        self.value = torch.nn.Linear(WIDTH, WIDTH)
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.classifier = torch.nn.Linear(WIDTH, CLASSES)


def make_model(seed, **config):
    """A model with an adapter, every trained value random."""
    torch.manual_seed(seed)
    model = get_peft_model(Model(), LoraConfig(r=2, lora_alpha=6, **config))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape))
    return model


def saved_name(name):
    """The name that PEFT saves a parameter by."""
    name = name.removeprefix("base_model.model.").replace(".base_layer", "")
    return name.replace(".modules_to_save.default", "").replace(".default", "")


def run(model, optimizer, path):
    torch.manual_seed(7)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad or "lora_A" in n}
    tensors = {f"{saved_name(n)}/start": p.detach().clone() for n, p in trained.items()}
    for step in range(STEPS):
        for name, parameter in trained.items():
            if parameter.requires_grad:
                parameter.grad = torch.randn(parameter.shape)
                tensors[f"{saved_name(name)}/gradient.{step}"] = parameter.grad.clone()
        optimizer.step()
        for name, parameter in trained.items():
            tensors[f"{saved_name(name)}/step.{step}"] = parameter.detach().clone()
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, {"format": "pt"})


def lora_plus(path, **config):
    model = make_model(3, **config)
    optimizer = create_loraplus_optimizer(
        model, torch.optim.AdamW, lr=LR, loraplus_lr_ratio=RATIO, loraplus_lr_embedding=LR_EMBEDDING,
        loraplus_weight_decay=WEIGHT_DECAY, eps=1e-8,
    )
    run(model, optimizer, path)


def lora_fa(path):
    # The product with the correction in the gradient's own precision, not in bfloat16.
    peft.optimizers.lorafa.is_bf16_available = lambda *_: False
    model = make_model(
        4, target_modules=["query", "value"], rank_pattern={"value": 3}, modules_to_save=["classifier"]
    )
    optimizer = create_lorafa_optimizer(model, r=2, lora_alpha=6, lr=LR)
    # It adds epsilon before the bias correction and torch after it: too small to matter, they agree.
    optimizer.param_groups[0]["eps"] = 1e-12
    run(model, optimizer, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    lora_plus(
        out / "lora_plus.safetensors", target_modules=["embed", "query"],
        modules_to_save=["norm", "classifier"], bias="lora_only",
    )
    lora_plus(out / "lora_plus_dora.safetensors", target_modules=["embed", "query"], use_dora=True)
    lora_fa(out / "lora_fa.safetensors")


if __name__ == "__main__":
    main()
