#!/usr/bin/env python3
"""Makes the tiny vocabularies and reference ids that the tokenizer tests compare with.

Needs transformers 5 (`pip install transformers`); run it from anywhere, without arguments. It
writes lora-models/tests/tokenizers/{roberta,bert,gpt2}/: the vocabulary files and cases.json with the
ids of transformers' own tokenizers. The output depends on nothing but this file and the library.
"""

import json
import pathlib
import shutil
import tempfile

from tokenizers import AddedToken, ByteLevelBPETokenizer
from transformers import BertTokenizer, GPT2Tokenizer, RobertaTokenizer

OUT = pathlib.Path(__file__).resolve().parent.parent / "lora-models" / "tests" / "tokenizers"

# Texts with word starts, continuations and bytes enough for some merges.
CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog doesn't mind.",
    "Paris is the capital of France; the capital of Germany is Berlin.",
    "A low-rank adapter adapts a large model with a small number of parameters.",
    "It's a café in the old town: naïve, cosy and never closed before 22:30.",
    "the the the of of and and in in is is a a to to model model adapter adapter",
] * 4

# (text, pair, longest length with the special tokens)
INPUTS = [
    ("Hello world", None, 512),
    (" Hello  world ", None, 512),
    ("", None, 512),
    ("Na\u00efve caf\u00e9 \u2014 Stra\u00dfe, \u6f22\u5b57 and \U0001f600!", None, 512),
    ("cafe\u0301 with a combining accent, \u00c5NGSTR\u00d6M", None, 512),
    ("don't, we'll, it's: the model's 3.14 > 2,718", None, 512),
    ("tabs\tand\n\nnew lines\r\nand a no-break\u00a0space, a zero\u200bwidth one\u0000", None, 512),
    ("Paris is the <mask> of France. Paris is the [MASK] of France.", None, 512),
    ("One text.<|endoftext|>Another one.", None, 512),
    ("unbelievablyinterminable" * 5, None, 512),
    ("The quick brown fox", "jumps over the lazy dog.", 512),
    ("", "only the second", 512),
    ("The quick brown fox jumps over the lazy dog.", None, 8),
    ("The quick brown fox jumps over the lazy dog.", None, 2),
    ("fox", "The quick brown fox jumps over the lazy dog, and the dog doesn't mind.", 12),
    ("The quick brown fox jumps over the lazy dog, and the dog doesn't mind.", "fox", 12),
    ("The quick brown fox jumps over the dog.", "The capital of Germany is Berlin.", 13),
    ("The quick brown fox jumps over the dog.", "The capital of Germany is Berlin.", 14),
    ("The capital of Germany is Berlin.", "The quick brown fox jumps over the dog.", 13),
    ("The capital of Germany is Berlin.", "The quick brown fox jumps over the dog.", 5),
]


def reference(tokenizer, inputs):
    """The ids and segment ids that transformers gives."""
    for text, pair, max_len in inputs:
        encoded = tokenizer(
            text,
            pair,
            truncation="longest_first",
            max_length=max_len,
            return_token_type_ids=True,
        )
        yield {
            "text": text,
            "pair": pair,
            "max_len": max_len,
            "ids": encoded["input_ids"],
            "type_ids": encoded["token_type_ids"],
            "decoded": tokenizer.decode(encoded["input_ids"], skip_special_tokens=True),
        }


def cases(folder, kind, configs, **options):
    """The reference of one vocabulary under several tokenizer_config.json."""
    result = []
    for config in configs:
        with tempfile.TemporaryDirectory() as copy:
            shutil.copytree(folder, copy, dirs_exist_ok=True)
            pathlib.Path(copy, "tokenizer_config.json").write_text(json.dumps(config))
            tokenizer = kind.from_pretrained(copy, **options)
            result.append({"config": config, "cases": list(reference(tokenizer, INPUTS))})
    return result


def roberta_cases(folder):
    # Published RoBERTa tokenizers let <mask> take the space before it; transformers 5 forgets
    # that when it builds the tokenizer from vocab.json and merges.txt.
    mask = AddedToken("<mask>", lstrip=True, special=True)
    configs = [{}, {"add_prefix_space": True}]
    return cases(folder, RobertaTokenizer, configs, mask_token=mask)


def bert_cases(folder):
    configs = [
        {},
        {"do_lower_case": False},
        {"do_lower_case": True, "strip_accents": False},
        {"tokenize_chinese_chars": False},
    ]
    return cases(folder, BertTokenizer, configs)


def make_roberta(folder):
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        CORPUS,
        vocab_size=340,
        min_frequency=2,
        show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
    )
    bpe.save_model(str(folder))
    # As in the published vocabularies, <mask> comes last.
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    vocab["<mask>"] = len(vocab)
    text = json.dumps(vocab, ensure_ascii=False)
    (folder / "vocab.json").write_text(text + "\n", encoding="utf-8")


def gpt2_cases(folder):
    return cases(folder, GPT2Tokenizer, [{}, {"add_prefix_space": True}])


def make_gpt2(folder):
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(CORPUS, vocab_size=330, min_frequency=2, show_progress=False)
    bpe.save_model(str(folder))
    # As in the published vocabulary, it comes last.
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    vocab["<|endoftext|>"] = len(vocab)
    text = json.dumps(vocab, ensure_ascii=False)
    (folder / "vocab.json").write_text(text + "\n", encoding="utf-8")


def make_bert(folder):
    words = sorted({word.strip(".,;:").lower() for line in CORPUS for word in line.split()})
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    capitals = ["T", "P", "H", "\u00c5", "N", "Paris", "The", "Hello"]
    others = list("0123456789.,;:!?'->[]<") + ["\u00e9", "\u00ef", "\u00df", "\u6f22", "\u2014"]
    pieces = ["##s", "##ing", "##able", "##un", "##er", "##\u00e9", "##\u00ef", "##\u5b57", "##0"]
    pieces += ["##" + letter for letter in letters] + ["##" + c for c in "NGSTRM"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = list(dict.fromkeys(special + letters + capitals + others + words + pieces))
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")


def write_cases(path, groups):
    """As JSON with one case a line."""
    lines = []
    for group in groups:
        rows = ",\n".join(json.dumps(case, ensure_ascii=False) for case in group["cases"])
        lines.append('{"config": %s, "cases": [\n%s\n]}' % (json.dumps(group["config"]), rows))
    path.write_text("[%s]\n" % ",\n".join(lines), encoding="utf-8")


def main():
    for name, make, make_cases in [
        ("roberta", make_roberta, roberta_cases),
        ("bert", make_bert, bert_cases),
        ("gpt2", make_gpt2, gpt2_cases),
    ]:
        folder = OUT / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        write_cases(folder / "cases.json", make_cases(folder))


if __name__ == "__main__":
    main()
