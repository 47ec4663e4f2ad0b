#!/usr/bin/env python3
"""Write what scikit-learn, SciPy and transformers measure, to cases.json in lora-train/tests/metrics.

    classes  said and right, and scikit-learn's scores of them with zero_division=0
    values   said and right, and SciPy's correlations of them; null where they are not defined
    texts    texts as transformers' copy of SQuAD's official program normalizes them
    pairs    what was said, a right answer, and the scores by the same program
    squad    questions with their right answers and what was said, and the scores by the same

    pip install scikit-learn scipy "transformers<5"     # version 5 has no SQuAD
    python scripts/make_metric_cases.py lora-train/tests/metrics
"""

import argparse
import importlib.metadata
import json
import math
import random
import warnings
from pathlib import Path
from types import SimpleNamespace

from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, precision_score, recall_score
from transformers.data.metrics.squad_metrics import compute_exact, compute_f1, normalize_answer, squad_evaluate


def classes(name, said, right):
    scores = {"accuracy": accuracy_score(right, said), "matthews": matthews_corrcoef(right, said)}
    for score in (f1_score, precision_score, recall_score):
        options = {"zero_division": 0}
        # average="binary" is this, but for refusing more than two classes.
        binary = score(right, said, labels=[1], average=None, **options)[0]
        if {*said, *right} <= {0, 1}:
            assert binary == score(right, said, average="binary", **options)
        scores[score.__name__.removesuffix("_score")] = {
            "binary": binary,
            "macro": score(right, said, average="macro", **options),
            "weighted": score(right, said, average="weighted", **options),
        }
    return {"name": name, "said": said, "right": right} | scores


def class_cases():
    yield classes("three classes", [0, 1, 1, 1, 2, 0, 2, 1], [0, 0, 1, 1, 2, 2, 2, 1])
    yield classes("two classes", [1, 0, 1, 1, 0, 0, 1, 0, 1], [1, 0, 0, 1, 1, 0, 1, 0, 0])
    yield classes("all right", [0, 1, 2, 1], [0, 1, 2, 1])
    yield classes("all wrong", [1, 0, 1, 0], [0, 1, 0, 1])
    yield classes("one class only", [0, 0, 0], [0, 0, 0])
    yield classes("only the positive class", [1, 1, 1], [1, 1, 1])
    yield classes("one class said", [1, 1, 1, 1, 1], [0, 1, 0, 2, 1])
    yield classes("one class right", [0, 1, 0, 2, 1], [1, 1, 1, 1, 1])
    yield classes("a class never said", [0, 1, 1, 0, 1], [0, 1, 2, 2, 1])
    yield classes("a class never right", [0, 1, 2, 0, 1], [0, 1, 1, 0, 0])
    yield classes("a class that does not occur", [0, 5, 5, 0, 5], [0, 5, 0, 5, 5])
    yield classes("one example, right", [1], [1])
    yield classes("one example, wrong", [0], [1])
    noise = random.Random(1)
    right = noise.choices(range(5), weights=[20, 10, 5, 2, 1], k=150)
    said = [label if noise.random() < 0.6 else noise.randrange(6) for label in right]
    yield classes("many examples of six classes", said, right)
    right = noise.choices(range(2), weights=[9, 1], k=150)
    said = [label if noise.random() < 0.8 else 1 - label for label in right]
    yield classes("many examples of two classes", said, right)


def values(name, said, right):
    def correlation(function):
        try:
            found = float(function(said, right).statistic)
        except ValueError:  # too few
            return None
        return None if math.isnan(found) else found

    return {"name": name, "said": said, "right": right, "pearson": correlation(pearsonr),
            "spearman": correlation(spearmanr)}


def value_cases():
    yield values("a line", [1.0, 2.0, 3.0, 4.0], [0.5, 1.5, 2.5, 3.5])
    yield values("a falling line", [1.0, 2.0, 3.0, 4.0], [9.0, 7.0, 5.0, 3.0])
    yield values("a curve", [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 8.0, 27.0, 64.0, 125.0])
    yield values("ties", [1.0, 2.0, 2.0, 3.0, 2.0, 5.0], [0.0, 0.0, 1.0, 1.0, 4.0, 4.0])
    yield values("constant predictions", [0.1, 0.1, 0.1, 0.1], [1.0, 2.0, 3.0, 4.0])
    yield values("constant targets", [1.0, 2.0, 3.0, 4.0], [0.7, 0.7, 0.7, 0.7])
    yield values("both constant", [1.0, 1.0], [2.0, 2.0])
    yield values("none", [], [])
    yield values("one example", [1.0], [1.0])
    yield values("two examples", [1.0, 2.0], [3.0, 1.0])
    yield values("far from zero", [1e8 + v for v in (1.0, 2.5, 2.0, 4.0)], [1.0, 2.0, 3.0, 4.0])
    yield values("tiny", [1e-200, 3e-200, 2e-200, 5e-200], [1e200, 2e200, 3e200, 4e200])
    noise = random.Random(2)
    right = [round(noise.uniform(0, 5) * 5) / 5 for _ in range(80)]
    said = [round(0.8 * v + noise.gauss(0.5, 1.0), 3) for v in right]
    yield values("scores of similarity", said, right)


TEXTS = [
    "", " ", "the", "The cat", "the-cat", "a  b\tc\nthe d", "An apple a day", "theatre", "U.S.A.", "$1,000.50",
    "(The) [end]!", "the_end", "Zürich", "DIE STRASSE in der Straße", "İstanbul", "ΟΔΥΣΣΕΥΣ a ΣΑΣ'", "«the» Paris",
    "the€5 €a", "naïve café", "東京 the 塔", "a\u00a0an\u2003nap", "a\u0301 b", "x\u001cthe\u001fy", "a1 1a a", "ça a été",
    "don't", "the the the", "A", "rock ’n’ roll", "ǅ Ǆ",
]

# Right answers, answer and probability of none.
ANSWERS = [
    (["Denver Broncos", "The Denver Broncos", "Broncos"], "the denver broncos!", 0.02),
    (["Zürich", "city of Zürich"], "the old city of Zürich", 0.3),
    (["in the 10th and 11th centuries", "10th and 11th centuries"], "11th century", 0.4),
    (["to be or not to be"], "to be to be to", 0.15),
    (["1,000"], "1000", 0.05),
    (["Rome"], "Paris", 0.2),
    (["Rome"], "", 0.9),
    (["the"], "a", 0.1),
    (["the"], "something", 0.45),
    (["塔 東京", "東京"], "東京 塔", 0.35),
    ([], "", 0.99),
    ([], "", 0.4),
    ([], "Normandy", 0.6),
    ([], "the", 0.7),
    ([], "Rollo", 0.01),
    (["Rollo", "Rollo of Normandy"], "Rollo the Viking", 0.6),
]


def squad(name, answers, threshold):
    questions = [SimpleNamespace(qas_id=str(i), answers=[{"text": text} for text in gold])
                 for i, (gold, _, _) in enumerate(answers)]
    predicted = {str(i): text for i, (_, text, _) in enumerate(answers)}
    no_answer = {str(i): probability for i, (_, _, probability) in enumerate(answers)}
    scores = squad_evaluate(questions, predicted, no_answer, threshold)
    keys = ("gold", "predicted", "no_answer")
    return {"name": name, "threshold": threshold, "answers": [dict(zip(keys, answer)) for answer in answers],
            "scores": scores}


def squad_cases():
    with_answer = [answer for answer in ANSWERS if answer[0]]
    yield squad("as answered", ANSWERS, 1.0)
    yield squad("threshold", ANSWERS, 0.4)
    yield squad("threshold of zero", ANSWERS, 0.0)
    yield squad("all have an answer", with_answer, 1.0)
    yield squad("none has an answer", [answer for answer in ANSWERS if not answer[0]], 0.65)
    yield squad("no probabilities", [(*answer[:2], 0.0) for answer in ANSWERS], 1.0)
    yield squad("the answers hardly matter", [([], "", 0.5)] * 3 + [(["yes"], "no", 0.2)], 1.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    warnings.simplefilter("ignore")  # of constant input
    pairs = [(answer, gold) for golds, answer, _ in ANSWERS for gold in golds]
    pairs += [("", " "), ("the", " "), ("the", "A cat")]
    cases = {
        "versions": {name: importlib.metadata.version(name) for name in ("scikit-learn", "scipy", "transformers")},
        "classes": list(class_cases()),
        "values": list(value_cases()),
        "texts": [{"text": text, "normalized": normalize_answer(text)} for text in TEXTS],
        "pairs": [{"predicted": a, "gold": b, "exact_match": compute_exact(b, a), "f1": compute_f1(b, a)}
                  for a, b in pairs],
        "squad": list(squad_cases()),
    }
    # One case a line.
    lists = [f'"{name}": [\n' + ",\n".join(json.dumps(case, ensure_ascii=False) for case in entries) + "\n]"
             for name, entries in cases.items() if name != "versions"]
    text = "{\n" + ",\n".join([f'"versions": {json.dumps(cases["versions"])}', *lists]) + "\n}\n"
    assert json.loads(text) == cases
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cases.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
