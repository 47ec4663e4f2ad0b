#!/usr/bin/env python3
"""Write the mixed batches of lora-core/tests/peft/mixed_batch.

A tiny model with an embedding and two linear layers has three adapters on different layers. In the
case `lora`, PEFT runs a batch whose rows name their adapters; the output and each adapter's
gradients are recorded. PEFT refuses `adapter_names` with DoRA, so in the case `dora` each row runs
alone, with its adapter active. In the case `copies` the model has a head too, and each adapter trains
the embedding and the head in full (`modules_to_save`).

Each case is a folder: `base.safetensors`, one PEFT folder an adapter, `case.json` with the batch and
the names of its rows, and `case.safetensors` with the output, the factors that the output is
multiplied with for the loss, and the gradients (`<adapter>/<key>`, the keys of PEFT's files).

    pip install torch peft safetensors
    python scripts/make_mixed_batch_cases.py lora-core/tests/peft/mixed_batch --seed 3
"""

import argparse
import json
import shutil
from pathlib import Path

import peft
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file

TOKENS, WIDTH, INNER, SEQUENCE = 11, 8, 6, 5
ROWS = ["second", "__base__", "first", "third", "second", "first", "__base__", "third"]


class Model(torch.nn.Module):
    """`x + down(tanh(up(x)))` on embedded tokens."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(TOKENS, WIDTH)
        self.up = torch.nn.Linear(WIDTH, INNER)
        self.down = torch.nn.Linear(INNER, WIDTH, bias=False)

    def forward(self, ids):
        x = self.embed(ids)
        return x + self.down(torch.tanh(self.up(x)))


class Headed(Model):
    """A linear layer on top."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, ids):
        return self.head(super().forward(ids))


def configs(case):
    """Three adapters with different ranks, scalings and layers."""
    if case == "copies":
        saved = ["embed", "head"]
        return {
            "first": LoraConfig(r=2, lora_alpha=4, target_modules=["up"], modules_to_save=saved),
            "second": LoraConfig(r=3, lora_alpha=5, target_modules=["up", "down"],
                                 modules_to_save=saved),
            "third": LoraConfig(r=1, lora_alpha=3, target_modules=["down"], modules_to_save=saved),
        }
    dora = case == "dora"
    return {
        "first": LoraConfig(r=2, lora_alpha=4, target_modules=["embed", "up"]),
        "second": LoraConfig(r=3, lora_alpha=5, target_modules=["up", "down"], use_rslora=True,
                             use_dora=dora),
        "third": LoraConfig(r=1, lora_alpha=3, target_modules=["embed", "down"], use_dora=dora),
    }


@torch.no_grad()
def randomize(model, generator, part=""):
    """Fill the parameters whose name contains `part`; DoRA's magnitudes stay positive."""
    for name, parameter in sorted(model.named_parameters()):
        if part in name:
            values = 0.3 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(values.abs() + 0.5 if "magnitude" in name else values)


def save_adapter(model, name, folder):
    """PEFT's files, without the model card and with the targets, a Python set, in a fixed order."""
    model.save_pretrained(folder, selected_adapters=[name])
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / name / "adapter_config.json"
    config = json.loads(path.read_text())
    for field in ("target_modules", "modules_to_save"):
        config[field] = config[field] and sorted(config[field])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def row_by_row(model, ids):
    """The output of each row with its own adapter active."""
    outputs = []
    for row, name in zip(ids, ROWS):
        if name == "__base__":
            with model.disable_adapter():
                outputs.append(model(row[None]))
        else:
            model.set_adapter(name)
            outputs.append(model(row[None]))
    return torch.cat(outputs)


def write_case(folder, case, generator):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    base = Headed() if case == "copies" else Model()
    randomize(base, generator)
    save_file({name: value.clone() for name, value in base.state_dict().items()},
              folder / "base.safetensors")
    model = None
    for name, config in configs(case).items():
        if model is None:
            model = get_peft_model(base, config, adapter_name=name)
        else:
            model.add_adapter(name, config)
    randomize(model, generator, "lora_")
    randomize(model, generator, "modules_to_save")
    model.eval()
    for name in configs(case):
        save_adapter(model, name, folder)

    ids = torch.randint(TOKENS, (len(ROWS), SEQUENCE), generator=generator)
    factors = 0.3 * torch.randn((len(ROWS), SEQUENCE, WIDTH), generator=generator)
    if case == "dora":
        output = row_by_row(model, ids)
    else:
        output = model(ids, adapter_names=ROWS)
    tensors = {"factors": factors, "output": output.detach().contiguous()}
    if case != "dora":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("lora_" in name or "modules_to_save" in name)
        (model(ids, adapter_names=ROWS) * factors).sum().backward()
        gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
        for name in configs(case):
            own = get_peft_model_state_dict(model, state_dict=gradients, adapter_name=name)
            tensors |= {f"{name}/{key}": grad.contiguous() for key, grad in own.items()}
    save_file(tensors, folder / "case.safetensors")
    versions = {"torch": torch.__version__, "peft": peft.__version__}
    case = {"rows": ROWS, "ids": ids.tolist(), "versions": versions}
    (folder / "case.json").write_text(json.dumps(case) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=3)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(arguments.seed)
    for case in ["lora", "dora", "copies"]:
        write_case(arguments.output / case, case, generator)
        print(f"wrote {arguments.output / case}")


if __name__ == "__main__":
    main()
