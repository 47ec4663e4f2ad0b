#!/usr/bin/env python3
"""Makes what the tests of question answering compare with: windows, positions and answers.

    pip install transformers numpy tqdm
    python scripts/make_squad_cases.py UTILS_QA

UTILS_QA is `utils_qa.py` of transformers' examples (examples/pytorch/question-answering), whose
`postprocess_qa_predictions` chooses the answers. Writes lora-train/tests/squad/: questions.json (a small
file in SQuAD's format, version 2.0), bert/vocab.txt (a WordPiece vocabulary), windows.json (the tokens of
transformers' own tokenizers, with the positions that run_qa.py's rules give) and answers.json (made-up
logits and the answers by them). The output depends on nothing but this file and the libraries.
"""

import importlib.util
import json
import pathlib
import sys
import tempfile

import numpy
from transformers import AutoTokenizer, BertTokenizer

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "lora-train" / "tests" / "squad"
ROBERTA = ROOT / "assets" / "roberta-tiny"

# (context, [(id, question, answers)]); an answer is a text and which of its occurrences it is.
PARAGRAPHS = [
    (
        "Orlo is a small town on the river Wen. It was founded in 1412 by fishermen from the island of Tarmen, "
        "who built a bridge of red stone, a church and two mills. In 1863 the railway came, and with it the makers "
        "of blue glass. Today 9,000 people live in Orlo; most of them work in the harbour of Velt, two hours away.",
        [
            ("first", "Which river is Orlo on?", [("Wen", 0), ("the river Wen", 0)]),
            ("spaces", " \t\u00a0 When did the railway come?", [("1863", 0)]),
            ("last", "How far away is Velt?", [("two hours away.", 0), ("two hours", 0)]),
            ("across", "Who came with the railway?", [("the makers of blue glass", 0)]),
            ("long", "What did the fishermen build?", [("a bridge of red stone, a church and two mills", 0)]),
            ("none", "Who burned the mills down?", []),
            ("part", "How many people?", [("000", 0)]),
        ],
    ),
    (
        "  Caf\u00e9 \u00c9toile, na\u00efve \U0001f600 Stra\u00dfe\u2014\u6f22\u5b57: cafe\u0301 "
        "costs 3\u20ac.  \u00c5ngstr\u00f6m  drank it\u2026 ",
        [
            ("accents", "What is it called, \u6f22\u5b57?", [("Caf\u00e9 \u00c9toile", 0)]),
            ("emoji", "Which one laughs?", [("\U0001f600", 0)]),
            ("combining", "What costs 3\u20ac?", [("cafe\u0301", 0)]),
            ("who", "Who drank it?", [("\u00c5ngstr\u00f6m", 0)]),
            ("chinese", "Which signs?", [("\u5b57", 0)]),
        ],
    ),
    (
        "It rains.",
        [
            ("short", "What does it do?", [("rains", 0)]),
            ("end", "What ends it?", [(".", 0)]),
            ("impossible", "Since when?", []),
        ],
    ),
]

# (longest sequence, tokens that windows share)
LENGTHS = [(64, 12), (48, 15), (128, 32)]


def questions():
    """The file, as SQuAD 2.0 has it."""
    paragraphs = []
    for context, asked in PARAGRAPHS:
        qas = []
        for name, question, answers in asked:
            found = []
            for text, occurrence in answers:
                start = -1
                for _ in range(occurrence + 1):
                    start = context.index(text, start + 1)
                found.append({"text": text, "answer_start": start})
            qas.append({"id": name, "question": question, "answers": found, "is_impossible": not found})
        paragraphs.append({"context": context, "qas": qas})
    return {"version": "v2.0", "data": [{"title": "Made up", "paragraphs": paragraphs}]}


def flat(file):
    """One row a question."""
    for article in file["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                yield {**asked, "context": paragraph["context"]}


def vocabulary():
    """WordPiece: the letters and signs of the texts, and some of their words and endings."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = "the river town of on is it was by in a and two red blue stone glass who which what when how did".split()
    pieces = ["##s", "##ing", "##ed", "##er", "##way", "##men", "fish", "rail", "rain", "cafe", "strasse"]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + list("0123456789.,;:?-\u2014\u2026\u20ac\u6f22")
    tokens = special + letters + ["##" + c for c in letters if c.isalnum()] + words + pieces
    return list(dict.fromkeys(tokens))


def positions(answer, offsets):
    """run_qa.py's rule for the first and last token of an answer, among the tokens of the context."""
    inside = [index for index, offset in enumerate(offsets) if offset is not None]
    start, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
    if not (offsets[inside[0]][0] <= start and offsets[inside[-1]][1] >= end):
        return 0, 0
    first, last = inside[0], inside[-1]
    # There the search goes on beyond the context, and gives the token behind it for an answer in the
    # last one.
    while first <= inside[-1] and offsets[first][0] <= start:
        first += 1
    while last >= inside[0] and offsets[last][1] >= end:
        last -= 1
    return first - 1, last + 1


def features(tokenizer, rows, max_len, stride):
    """The windows of every question, in order."""
    encoded = tokenizer(
        [row["question"].lstrip() for row in rows],
        [row["context"] for row in rows],
        truncation="only_second",
        max_length=max_len,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
        padding=False,
    )
    for index, question in enumerate(encoded["overflow_to_sample_mapping"]):
        texts = encoded.sequence_ids(index)
        offsets = [list(o) if text == 1 else None for o, text in zip(encoded["offset_mapping"][index], texts)]
        answers = rows[question]["answers"]
        start, end = positions(answers[0], offsets) if answers else (0, 0)
        yield {
            "question": question,
            "ids": encoded["input_ids"][index],
            "type_ids": encoded["token_type_ids"][index],
            "offsets": offsets,
            "start": start,
            "end": end,
        }


def short(feature):
    """As it is written down: the offsets of the context one after the other."""
    texts = [index for index, offset in enumerate(feature["offsets"]) if offset is not None]
    offsets = [place for offset in feature["offsets"] if offset is not None for place in offset]
    return {**feature, "context": texts[0], "offsets": offsets, "type_ids": sum(feature["type_ids"])}


def logits(count, generator):
    """Values without ties, to be divided by 64."""
    return generator.permutation(numpy.arange(-300, 300))[:count].tolist()


class Rows(list):
    """A list of rows that also gives columns, as `datasets` does."""

    def __getitem__(self, key):
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


def answers(postprocess, rows, windows, generator):
    """Logits for each window, and the answers under several settings."""
    single = lambda rows: [numpy.float32(row) / 64 for row in rows]
    results = []
    starts = [logits(len(window["ids"]), generator) for window in windows]
    ends = [logits(len(window["ids"]), generator) for window in windows]
    named = [
        {"example_id": rows[window["question"]]["id"], "offset_mapping": window["offsets"]} for window in windows
    ]
    for version_2, n_best, longest, threshold in [
        (False, 20, 30, 0.0),
        (False, 3, 4, 0.0),
        (False, 1, 1, 0.0),
        (True, 20, 30, 0.0),
        (True, 2, 5, -4.0),
        (True, 5, 3, 2.5),
    ]:
        with tempfile.TemporaryDirectory() as folder:
            postprocess(
                examples=Rows(rows),
                features=named,
                predictions=(single(starts), single(ends)),
                version_2_with_negative=version_2,
                n_best_size=n_best,
                max_answer_length=longest,
                null_score_diff_threshold=threshold,
                output_dir=folder,
            )
            read = lambda name: json.loads(pathlib.Path(folder, name).read_text())
            best = read("nbest_predictions.json")
            result = {
                "version_2": version_2,
                "n_best_size": n_best,
                "max_answer_length": longest,
                "null_score_diff_threshold": threshold,
                "predictions": read("predictions.json"),
                # Of long lists the first two do.
                "n_best": {name: candidates[:2] for name, candidates in best.items()},
                "counts": {name: len(candidates) for name, candidates in best.items()},
                "null_odds": read("null_odds.json") if version_2 else None,
            }
            results.append(result)
    return {"starts": starts, "ends": ends, "settings": results}


def write(path, value):
    """JSON with one entry of the outermost list a line."""
    rows = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in value)
    path.write_text(f"[\n{rows}\n]\n", encoding="utf-8")


def main():
    spec = importlib.util.spec_from_file_location("utils_qa", sys.argv[1])
    utils_qa = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils_qa)

    (OUT / "bert").mkdir(parents=True, exist_ok=True)
    (OUT / "bert" / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    file = questions()
    (OUT / "questions.json").write_text(json.dumps(file, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    rows = list(flat(file))
    tokenizers = {
        "bert": BertTokenizer.from_pretrained(OUT / "bert"),
        "roberta": AutoTokenizer.from_pretrained(ROBERTA),
    }
    generator = numpy.random.default_rng(7)
    windows, chosen = [], []
    for family, tokenizer in tokenizers.items():
        for max_len, stride in LENGTHS:
            found = list(features(tokenizer, rows, max_len, stride))
            case = {"family": family, "max_len": max_len, "stride": stride}
            windows.append({**case, "features": [short(feature) for feature in found]})
            if (max_len, stride) == LENGTHS[0]:
                found = answers(utils_qa.postprocess_qa_predictions, rows, found, generator)
                chosen.append({**case, **found})
    write(OUT / "windows.json", windows)
    write(OUT / "answers.json", chosen)


if __name__ == "__main__":
    main()
