#!/usr/bin/env python3
"""Exchange adapters between burn-lora and PEFT, in both directions, for every method.

    pip install torch transformers peft bitsandbytes
    cargo build --release --example interop
    python scripts/peft_interop.py --out docs/peft_interop.md

For each configuration, on a base model of the parity cases:
- burn-lora writes an adapter, PEFT loads it: no key may be missing or unexpected, and the logits have to agree;
- PEFT writes an adapter, burn-lora loads it: likewise (a wrong key is an error there).
PEFT's LoftQ asks for a GPU; `loftq_on_cpu` has what it takes to run it without.
Prints and writes a table; exit code 1 if anything differs by more than 1e-5.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import peft
import torch
import transformers as hf
from peft import LoraConfig, PeftModel, get_peft_model
from make_init_cases import loftq_on_cpu
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
TOLERANCE = 1e-5
CASE = Path("lora-models/tests/golden/roberta-seqcls-base")
QV = ["query", "value"]

# name: LoraConfig arguments
METHODS = {
    "LoRA": dict(),
    "LoRA, α ≠ r": dict(lora_alpha=32),
    "list of full paths": dict(target_modules=["roberta.encoder.layer.0.attention.self.query"]),
    "regular expression": dict(target_modules=r".*layer\.1\.(attention\.self\.query|output\.dense)"),
    "all-linear": dict(target_modules="all-linear"),
    "exclude_modules": dict(target_modules=["dense"], exclude_modules=r".*(classifier|intermediate).*"),
    "embedding": dict(target_modules=["word_embeddings", "query"]),
    "modules_to_save": dict(modules_to_save=["classifier", "LayerNorm"]),
    "rank_pattern, alpha_pattern": dict(rank_pattern={"layer.0.attention.self.query": 2}, alpha_pattern={"value": 32}),
    "layers_to_transform": dict(layers_to_transform=[1], layers_pattern="layer"),
    "bias all": dict(bias="all"),
    "bias lora_only": dict(bias="lora_only"),
    "rsLoRA": dict(use_rslora=True),
    "DoRA": dict(use_dora=True),
    "DoRA, embedding": dict(target_modules=["word_embeddings", "query"], use_dora=True),
    "DoRA, rsLoRA, patterns": dict(use_dora=True, use_rslora=True, rank_pattern={"query": 2}),
    "gaussian": dict(init_lora_weights="gaussian"),
    "init false": dict(init_lora_weights=False),
    "orthogonal": dict(init_lora_weights="orthogonal"),
    "PiSSA": dict(init_lora_weights="pissa"),
    "PiSSA, rsLoRA": dict(init_lora_weights="pissa", use_rslora=True),
    "OLoRA": dict(init_lora_weights="olora"),
    "EVA": dict(init_lora_weights="eva"),
    "LoftQ, 4 bits": dict(init_lora_weights="loftq", loftq_config={"loftq_bits": 4, "loftq_iter": 2}),
    "LoftQ, 8 bits": dict(init_lora_weights="loftq", loftq_config={"loftq_bits": 8, "loftq_iter": 1}),
}
# The factors of weights, which PEFT puts over weights of zeros.
FACTORS = "factorized weights"
# What only one side writes: the options of our program, and the LoraConfig arguments.
WRITTEN_HERE = {
    "PiSSA as LoRA": (["--as-lora"], dict(init_lora_weights="pissa")),
    "PiSSA (4 iterations) as LoRA": (["--as-lora"], dict(init_lora_weights="pissa_niter_4")),
    "OLoRA as LoRA": (["--as-lora"], dict(init_lora_weights="olora")),
    "two adapters, linear": (["--combine", "linear"], dict(modules_to_save=[], task_type=None)),
    "two adapters, cat": (["--combine", "cat"], dict(modules_to_save=[], task_type=None)),
    "two adapters, svd": (["--combine", "svd"], dict(modules_to_save=[], task_type=None)),
    "two adapters, ties": (["--combine", "ties"], dict(modules_to_save=[], task_type=None)),
    "two adapters, magnitude_prune": (["--combine", "magnitude_prune"], dict(modules_to_save=[], task_type=None)),
    FACTORS: (["--rank", "8"], dict()),
}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interop", default="target/release/examples/interop", help="the built example")
    parser.add_argument("--out", type=Path, help="write the table to this Markdown file")
    parser.add_argument("--only", choices=[*METHODS, *WRITTEN_HERE], help="one method")
    return parser.parse_args()


def arguments(method):
    given = METHODS[method] if method in METHODS else WRITTEN_HERE[method][1]
    return dict(r=4, lora_alpha=8, target_modules=QV, task_type="SEQ_CLS") | given


def base_model():
    return hf.RobertaForSequenceClassification.from_pretrained(CASE / "base").eval()


def logits(model):
    inputs = load_file(CASE / "io.safetensors")
    inputs = {name: inputs[f"in.{name}"] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        return model.eval()(**inputs).logits


def run(args, command, *options):
    done = subprocess.run([args.interop, command, str(CASE), *map(str, options)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def difference(path, expected):
    return (load_file(path / "logits.safetensors")["logits"] - expected).abs().max().item()


def ours_to_peft(args, method, folder):
    """An adapter of ours in PEFT: its complaints about keys, and the largest difference of a logit."""
    config = LoraConfig(**arguments(method)).to_dict()
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    (folder / "config.json").write_text(json.dumps(config))
    options = WRITTEN_HERE[method][0] if method in WRITTEN_HERE else []
    command = ["factorize"] if method == FACTORS else ["write", "--config", folder / "config.json"]
    run(args, *command, "--out", folder, *options)
    model = get_peft_model(base_model(), LoraConfig.from_pretrained(folder / "adapter"))
    if method == FACTORS:
        for layer in filter(lambda module: isinstance(module, LoraLayer), model.modules()):
            layer.get_base_layer().weight.data.zero_()
    found = model.load_adapter(folder / "adapter", adapter_name="default")
    missing = [key for key in found.missing_keys if "lora_" in key or "modules_to_save" in key]
    return missing + list(found.unexpected_keys), difference(folder, logits(model))


def peft_to_ours(args, method, folder):
    """An adapter of PEFT's here: the largest difference of a logit."""
    torch.manual_seed(0)
    model = get_peft_model(base_model(), LoraConfig(**arguments(method)))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            noise = 0.1 * torch.randn_like(parameter)
            parameter.data = parameter.data * (1 + noise) if "magnitude" in name else parameter.data + noise
    expected = logits(model)
    model.save_pretrained(folder / "adapter")
    run(args, "read", "--adapter", folder / "adapter", "--out", folder)
    return difference(folder, expected)


def row(args, method):
    """A line of the table, and whether all is well."""
    cells, well = [], True
    with tempfile.TemporaryDirectory() as folder:
        for direction, exchange in (("there", ours_to_peft), ("back", peft_to_ours)):
            if direction == "back" and method in WRITTEN_HERE:
                cells.append("")
                continue
            try:
                path = Path(folder) / direction
                path.mkdir()
                result = exchange(args, method, path)
                keys, largest = result if isinstance(result, tuple) else ([], result)
                well &= not keys and largest <= TOLERANCE
                cells.append(f"{len(keys)} wrong keys, {largest:.1e}" if keys else f"{largest:.1e}")
            except Exception as error:
                well = False
                cells.append(f"error: {str(error).splitlines()[-1]}")
    return f"| {method} | {' | '.join(cells)} |", well


def main():
    args = parse_args()
    torch.set_num_threads(1)
    loftq_on_cpu()
    lines = ["| method | ours → PEFT | PEFT → ours |", "|---|---:|---:|"]
    print("\n".join(lines))
    all_well = True
    for method in [args.only] if args.only else [*METHODS, *WRITTEN_HERE]:
        line, well = row(args, method)
        all_well &= well
        lines.append(line)
        print(line, flush=True)
    if args.out:
        versions = f"torch {torch.__version__.split('+')[0]}, transformers {hf.__version__}, peft {peft.__version__}"
        head = f"""# Adapters that travel

Written by `scripts/peft_interop.py` with {versions}: for each method the largest difference between
our logits and PEFT's, when one loads the adapter that the other wrote. No key is missing or unexpected in any
of them; the largest difference accepted is {TOLERANCE:.0e}.

    cargo build --release --example interop
    python scripts/peft_interop.py --out docs/peft_interop.md

"""
        if not all_well:
            sys.exit("not written: something differs")
        args.out.parent.mkdir(exist_ok=True)
        args.out.write_text(head + "\n".join(lines) + "\n")
    sys.exit(0 if all_well else 1)


if __name__ == "__main__":
    main()
