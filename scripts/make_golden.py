#!/usr/bin/env python3
"""Write the parity cases of lora-models/tests/golden.

Each case is a tiny random model run by Hugging Face transformers and PEFT on the CPU in float32:
the base model alone, with a LoRA adapter, its gradients, five AdamW steps, and the merged result.
The README.md in the output directory describes the files of a case.

    pip install torch transformers peft safetensors
    python scripts/make_golden.py lora-models/tests/golden --seed 7
"""

import argparse
import copy
import json
import zlib
from pathlib import Path

import peft
import torch
import transformers as hf
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file

VOCAB, SEQUENCE = 61, 10

MODELS = {
    ("roberta", "seqcls"): hf.RobertaForSequenceClassification,
    ("roberta", "mlm"): hf.RobertaForMaskedLM,
    ("roberta", "qa"): hf.RobertaForQuestionAnswering,
    ("bert", "seqcls"): hf.BertForSequenceClassification,
    ("bert", "mlm"): hf.BertForMaskedLM,
    ("gpt2", "lm"): hf.GPT2LMHeadModel,
    ("gpt2", "seqcls"): hf.GPT2ForSequenceClassification,
}


def lora(r, alpha, targets, task="SEQ_CLS", **extra):
    """The LoraConfig arguments of a case."""
    extra |= {"task_type": task} if task else {}
    return dict(r=r, lora_alpha=alpha, target_modules=targets, **extra)


REGEX = r".*layer\.1\.(attention\.self\.query|output\.dense)"
QV, ATTENTION = ["query", "value"], ["query", "key", "value", "attention.output.dense"]
C_REGEX = r"transformer\.h\..*\.attn\.c_.*"
RANKS, ALPHAS = {"layer.0.attention.self.query": 2}, {"layer.1.attention.self.value": 32}
NO_FFN = r".*(classifier|intermediate).*"

# name: (architecture, head, labels, LoraConfig arguments or None)
CASES = {
    "roberta-seqcls-base": ("roberta", "seqcls", 3, None),
    "roberta-mlm-base": ("roberta", "mlm", 2, None),
    "bert-seqcls-base": ("bert", "seqcls", 2, None),
    "bert-mlm-base": ("bert", "mlm", 2, None),
    "roberta-qv": ("roberta", "seqcls", 3, lora(4, 8, QV)),
    "roberta-regression": ("roberta", "seqcls", 1, lora(2, 16, QV)),
    "roberta-regex": ("roberta", "seqcls", 3, lora(2, 2, REGEX, None, modules_to_save=["classifier"])),
    "roberta-all-linear": ("roberta", "seqcls", 2, lora(3, 6, "all-linear")),
    "roberta-rslora": ("roberta", "seqcls", 3, lora(4, 8, ATTENTION, use_rslora=True)),
    "roberta-exclude": ("roberta", "seqcls", 3, lora(4, 8, ["dense"], exclude_modules=NO_FFN)),
    "roberta-qa": ("roberta", "qa", 2, lora(4, 8, QV, "QUESTION_ANS", modules_to_save=["qa_outputs"])),
    "roberta-embedding": ("roberta", "seqcls", 3, lora(4, 8, ["word_embeddings", "query"])),
    "roberta-mlm-lora": ("roberta", "mlm", 2, lora(4, 8, QV, None)),
    "roberta-dora": ("roberta", "seqcls", 3, lora(4, 8, QV, use_dora=True)),
    "roberta-dora-embedding": ("roberta", "seqcls", 3, lora(3, 6, ["word_embeddings", "value"], use_dora=True)),
    "roberta-bias-lora-only": ("roberta", "seqcls", 3, lora(4, 8, QV, bias="lora_only")),
    "bert-bias-all": ("bert", "seqcls", 2, lora(4, 8, QV, bias="all")),
    "roberta-layers": ("roberta", "seqcls", 3, lora(4, 8, QV, layers_to_transform=[1], layers_pattern="layer")),
    "roberta-patterns": ("roberta", "seqcls", 3, lora(4, 8, QV, rank_pattern=RANKS, alpha_pattern=ALPHAS)),
    "bert-all-linear": ("bert", "seqcls", 2, lora(2, 4, "all-linear")),
    "bert-pooler-qv": ("bert", "seqcls", 2, lora(4, 8, QV)),
    "gpt2-lm-base": ("gpt2", "lm", 2, None),
    "gpt2-seqcls-base": ("gpt2", "seqcls", 2, None),
    "gpt2-c_attn": ("gpt2", "lm", 2, lora(4, 8, ["c_attn"], "CAUSAL_LM", fan_in_fan_out=True)),
    "gpt2-dora-all-linear": ("gpt2", "lm", 2, lora(2, 4, "all-linear", "CAUSAL_LM", use_dora=True, fan_in_fan_out=True)),
    "gpt2-regex": ("gpt2", "seqcls", 2, lora(4, 8, C_REGEX, None, modules_to_save=["score"], fan_in_fan_out=True)),
}


def model_config(arch, labels):
    """A model of two layers without dropout."""
    shared = dict(vocab_size=VOCAB, num_hidden_layers=2, max_position_embeddings=20, layer_norm_eps=1e-5,
                  hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0,
                  num_labels=labels, problem_type="regression" if labels == 1 else None)
    if arch == "gpt2":
        return hf.GPT2Config(vocab_size=VOCAB, n_positions=20, n_embd=16, n_layer=2, n_head=4, resid_pdrop=0.0,
                             embd_pdrop=0.0, attn_pdrop=0.0, num_labels=labels, bos_token_id=VOCAB - 1,
                             eos_token_id=VOCAB - 1, pad_token_id=VOCAB - 1)
    if arch == "roberta":
        return hf.RobertaConfig(hidden_size=16, num_attention_heads=4, intermediate_size=24,
                                type_vocab_size=1, pad_token_id=1, **shared)
    return hf.BertConfig(hidden_size=18, num_attention_heads=3, intermediate_size=24,
                         type_vocab_size=2, pad_token_id=0, **shared)


@torch.no_grad()
def randomize(model, generator, std, part=""):
    """Fill the parameters whose name contains `part`, biases included, so that no term vanishes.

    DoRA's magnitudes stay what the base made them: a negative one would turn its column around.
    """
    for name, parameter in model.named_parameters():
        if part in name and "magnitude" not in name:
            noise = torch.randn(parameter.shape, generator=generator)
            norm = name.endswith(("LayerNorm.weight", "layer_norm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight"))
            parameter.copy_(1 + 0.2 * noise if norm else std * noise)


def make_inputs(arch, head, labels, pad, generator):
    """Three sequences of different lengths, padded on the right, with labels for the head."""
    lengths = torch.tensor([SEQUENCE, SEQUENCE - 3, 4])
    batch, positions = len(lengths), torch.arange(SEQUENCE)[None]
    mask = positions < lengths[:, None]
    ids = torch.randint(3, VOCAB - 2, (batch, SEQUENCE), generator=generator).masked_fill(~mask, pad)
    inputs = {"input_ids": ids, "attention_mask": mask.long()}
    if arch == "bert":
        inputs["token_type_ids"] = ((positions >= lengths[:, None] // 2) & mask).long()
    if head == "qa":
        inputs |= {"start_positions": torch.tensor([1, 2, 0]), "end_positions": torch.tensor([4, 5, 2])}
    elif head == "mlm":
        chosen = torch.rand(batch, SEQUENCE, generator=generator) < 0.4
        inputs["labels"] = ids.masked_fill(~(chosen & mask), -100)
    elif head == "lm":
        inputs["labels"] = ids.masked_fill(~mask, -100)
    elif labels == 1:
        inputs["labels"] = torch.randn(batch, generator=generator)
    else:
        inputs["labels"] = torch.randint(0, labels, (batch,), generator=generator)
    return inputs


def record(tensors, prefix, output):
    """Keep a model's loss and logits under `prefix`."""
    names = [name for name in ("loss", "logits", "start_logits", "end_logits") if name in output]
    tensors |= {f"{prefix}.{name}": torch.atleast_1d(output[name]) for name in names}


def plain_name(name):
    """The Hugging Face name of a parameter, without what PEFT's wrappers add to it."""
    name = name.removeprefix("base_model.model.")
    for part in (".default", ".modules_to_save", ".base_layer"):
        name = name.replace(part, "")
    return name


def save_adapter(model, directory):
    """PEFT's files, without the model card and with lists that come from Python sets in a fixed order."""
    model.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)
    path = directory / "adapter_config.json"
    config = json.loads(path.read_text()).items()
    config = {key: sorted(value) if isinstance(value, list) else value for key, value in config}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def run_lora(model, arguments, inputs, generator, directory, tensors):
    """Inject, save, train and merge an adapter; returns PEFT's trainable and total counts."""
    model = get_peft_model(model, LoraConfig(**arguments)).eval()
    record(tensors, "init", model(**inputs))
    randomize(model, generator, 0.1, "lora_")
    save_adapter(model, directory)

    trained = {plain_name(n): p for n, p in model.named_parameters() if p.requires_grad}
    output = model(**inputs)
    record(tensors, "lora", output)
    output.loss.backward()
    tensors |= {f"grad.{n}": p.grad.clone() for n, p in trained.items()}

    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    tensors["train.losses"] = torch.tensor(losses)
    record(tensors, "trained", model(**inputs))
    tensors |= {f"trained.param.{n}": p for n, p in trained.items()}

    adapted = {plain_name(n) + ".weight" for n, m in model.named_modules() if isinstance(m, LoraLayer)}
    merged = copy.deepcopy(model).merge_and_unload()
    record(tensors, "merged", merged(**inputs))
    tensors |= {f"merged.param.{n}": p for n, p in merged.named_parameters() if n in adapted}
    return model.get_nb_trainable_parameters()


def make_case(name, directory, seed):
    arch, head, labels, arguments = CASES[name]
    generator = torch.Generator().manual_seed(seed * 1000 + zlib.crc32(name.encode()) % 1000)
    torch.manual_seed(seed)
    config = model_config(arch, labels)
    model = MODELS[arch, head](config).eval()
    randomize(model, generator, 0.15)
    model.save_pretrained(directory / "base")

    inputs = make_inputs(arch, head, labels, config.pad_token_id, generator)
    tensors = {f"in.{key}": value for key, value in inputs.items()}
    record(tensors, "base", model(**inputs))
    versions = {"torch": torch.__version__, "transformers": hf.__version__, "peft": peft.__version__}
    case = dict(arch=arch, head=head, labels=labels, lora=arguments, seed=seed, versions=versions)
    if arguments is not None:
        counts = run_lora(model, arguments, inputs, generator, directory / "adapter", tensors)
        case["trainable"], case["total"] = counts
    save_file({k: t.detach().clone().contiguous() for k, t in tensors.items()}, directory / "io.safetensors")
    (directory / "case.json").write_text(json.dumps(case, indent=1) + "\n")
    losses = (f"{k}={t.item():.5f}" for k, t in tensors.items() if k.endswith(".loss"))
    print(name, case.get("trainable"), case.get("total"), *losses)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", choices=CASES, help="write one case")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in [args.only] if args.only else CASES:
        make_case(name, args.out / name, args.seed)


if __name__ == "__main__":
    main()
