#!/usr/bin/env python3
"""Write the generation cases of lora-models/tests/generation: what transformers' `generate` gives.

`model` is a tiny random GPT-2 (weights exact in half precision, stored so). `texts.json` has greedy
and beam search: each case gives the prompts, the fields of the configuration, and for every returned
sequence its new tokens, the end token included and padding cut off, and its score in beam search.
Several prompts are run as one batch, padded on the left, and one by one: both have to agree. So have
a run in float64 and one with weights moved by a hundred thousandth: no case hangs on a near tie.

`scores.json` has rows of scores before and after the logits processors, in the order of `generate`;
null is minus infinity.

    pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0
    python scripts/make_generation_cases.py lora-models/tests/generation --seed 11
"""

import argparse
import copy
import json
import shutil
from pathlib import Path

import torch
import transformers
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

VOCABULARY, PAD, END, OTHER_END = 96, 95, 94, 93
GREEDY = [
    ("greedy", {}),
    ("repetition-penalty", {"repetition_penalty": 1.4}),
    ("repetition-reward", {"repetition_penalty": 0.7}),
    ("no-repeat-1", {"no_repeat_ngram_size": 1}),
    ("no-repeat-2", {"no_repeat_ngram_size": 2}),
    ("no-repeat-3", {"no_repeat_ngram_size": 3}),
    ("several-ends", {"eos_token_id": "common"}),
    ("min-new-tokens", {"eos_token_id": "common", "min_new_tokens": 7}),
    ("everything", {"eos_token_id": "common", "min_new_tokens": 4, "repetition_penalty": 1.3,
                    "no_repeat_ngram_size": 2}),
]
BEAMS = [
    ("beam-2", {"num_beams": 2}),
    ("beam-4", {"num_beams": 4, "num_return_sequences": 4}),
    ("beam-10", {"num_beams": 10, "num_return_sequences": 3}),
    ("beam-penalty-0", {"num_beams": 4, "length_penalty": 0.0, "num_return_sequences": 2}),
    ("beam-penalty-long", {"num_beams": 4, "length_penalty": 2.0, "num_return_sequences": 2}),
    ("beam-penalty-short", {"num_beams": 4, "length_penalty": -1.0, "num_return_sequences": 2}),
    ("beam-early", {"num_beams": 4, "early_stopping": True, "num_return_sequences": 4}),
    ("beam-never", {"num_beams": 4, "early_stopping": "never", "num_return_sequences": 4}),
    ("beam-never-short", {"num_beams": 4, "early_stopping": "never", "length_penalty": -1.0,
                          "num_return_sequences": 4}),
    ("beam-no-repeat", {"num_beams": 5, "no_repeat_ngram_size": 3, "num_return_sequences": 5}),
    ("beam-repetition", {"num_beams": 3, "repetition_penalty": 1.5, "num_return_sequences": 3}),
    ("beam-min-new-tokens", {"num_beams": 4, "min_new_tokens": 6, "num_return_sequences": 4}),
    # The GPT-2 experiments of the LoRA paper decode E2E so.
    ("beam-e2e", {"num_beams": 10, "length_penalty": 0.8, "no_repeat_ngram_size": 4}),
]
SCORES = [
    {"do_sample": True, "temperature": 0.7, "top_k": 0},
    {"do_sample": True, "temperature": 1.6, "top_k": 0},
    {"do_sample": True, "top_k": 1},
    {"do_sample": True, "top_k": 5},
    {"do_sample": True},
    {"do_sample": True, "top_k": 0, "top_p": 0.3},
    {"do_sample": True, "top_k": 0, "top_p": 0.9},
    {"do_sample": True, "temperature": 0.8, "top_k": 12, "top_p": 0.85},
    {"do_sample": True, "temperature": 1.3, "top_k": 4, "top_p": 0.5, "num_beams": 3,
     "eos_token_id": [4, 5]},
    {"do_sample": True, "top_k": 1, "top_p": 0.1, "num_beams": 2, "eos_token_id": None},
    {"repetition_penalty": 1.7},
    {"repetition_penalty": 0.6},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3},
    {"no_repeat_ngram_size": 20},
    {"min_new_tokens": 4, "eos_token_id": [4, 5]},
    {"min_new_tokens": 3, "eos_token_id": [4, 5]},
    {"do_sample": True, "repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "min_new_tokens": 9,
     "temperature": 0.9, "top_k": 30, "top_p": 0.95, "eos_token_id": 4},
]


def build(seed):
    """A model whose next token is mostly decided, and by more than the last one."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=48, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0.1,
        embd_pdrop=0.1, attn_pdrop=0.1, bos_token_id=END, eos_token_id=END, pad_token_id=PAD)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "ln_" not in name:
                spread = 0.6 if "wte" in name or "wpe" in name else 0.35
                parameter.copy_(torch.randn(parameter.shape) * spread)
            parameter.copy_(parameter.half().float())
    return model


def run(model, prompts, config):
    """The new tokens of every returned sequence, and the scores of beam search."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    # `generate` fills what is not set from the model's own configuration.
    if "eos_token_id" in config and config["eos_token_id"] is None:
        model.generation_config.eos_token_id = None
    else:
        model.generation_config.eos_token_id = END
    with torch.no_grad():
        generation = GenerationConfig(pad_token_id=PAD, output_scores=True,
                                      return_dict_in_generate=True, **config)
        out = model.generate(ids, attention_mask=mask, generation_config=generation)
    ends = config.get("eos_token_id", END)
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    tokens = []
    for row in out.sequences[:, longest:].tolist():
        length = next((i + 1 for i, token in enumerate(row) if token in ends), len(row))
        assert set(row[length:]) <= {PAD} and PAD not in row[:length], row
        tokens.append(row[:length])
    scores = out.sequences_scores.tolist() if config.get("num_beams", 1) > 1 else None
    return tokens, scores


def checked(model, moved, prompts, config):
    """`run`, if it does not depend on rounding and on the other prompts of the batch."""
    tokens, scores = run(model, prompts, config)
    for other in (copy.deepcopy(model).double(), *moved):
        assert run(other, prompts, config)[0] == tokens, f"{config}: near tie"
    alone = [run(model, [prompt], config) for prompt in prompts]
    assert [row for result in alone for row in result[0]] == tokens, f"{config}: batch"
    return {"prompts": prompts, "config": config, "tokens": tokens, "scores": scores}


def move(model, seed):
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1 + 1e-5 * torch.randn(parameter.shape, generator=generator)
    return model


def text_cases(model, seed):
    generator = torch.Generator().manual_seed(seed)

    def prompt(length):
        return torch.randint(0, END - 1, (length,), generator=generator).tolist()

    moved = [move(model, seed + i) for i in range(3)]
    singles = [[prompt(1)], [prompt(6)]]
    batches = [[prompt(5), prompt(5)], [prompt(3), prompt(9), prompt(1), prompt(6)]]
    # Tokens that greedy search comes by: as end tokens they stop it in different places.
    greedy = run(model, batches[1], {"max_new_tokens": 16, "eos_token_id": None})[0]
    common = sorted({greedy[0][3], greedy[1][6], greedy[3][10]})
    for name, fields in GREEDY + BEAMS:
        for prompts in singles + batches:
            config = {"max_new_tokens": 16, **fields}
            if "num_beams" in config or config.get("eos_token_id") == "common":
                config["eos_token_id"] = common
            case = checked(model, moved, prompts, config)
            yield {"name": f"{name}-{len(prompts)}x{max(map(len, prompts))}", **case}
    config = {"max_new_tokens": 12, "num_beams": 3, "eos_token_id": None, "num_return_sequences": 3}
    yield {"name": "beam-no-end", **checked(model, moved, batches[1], config)}


def score_cases(model, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = [7, 3, 9, 3, 9, 11, 3]
    new = 3
    for fields in SCORES:
        row = (3 * torch.randn((24,), generator=generator)).tolist()
        config = GenerationConfig(**{"num_beams": 1, **fields})
        defaults = GenerationConfig._get_default_generation_params()
        config.update(**defaults, defaults_only=True)
        model._prepare_special_tokens(config, True, device="cpu")
        processors = model._get_logits_processor(config, input_ids_seq_length=len(tokens) - new)
        scores = processors(torch.tensor([tokens]), torch.tensor([row]))
        after = [None if value == float("-inf") else value for value in scores[0].tolist()]
        probabilities = scores.softmax(-1)[0].tolist()
        yield {"config": fields, "tokens": tokens, "new_tokens": new, "before": row, "after": after,
               "probabilities": probabilities}


def write(path, cases):
    """One case a line."""
    lines = ",\n".join(json.dumps(case) for case in cases)
    path.write_text(f"[\n{lines}\n]\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    model = build(args.seed)
    args.folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(args.folder / "model", ignore_errors=True)
    copy.deepcopy(model).half().save_pretrained(args.folder / "model")
    write(args.folder / "texts.json", text_cases(model, args.seed))
    write(args.folder / "scores.json", score_cases(model, args.seed))
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
