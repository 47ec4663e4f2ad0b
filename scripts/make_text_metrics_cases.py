#!/usr/bin/env python3
"""Write expected.json beside hypotheses.txt and references.txt: what other programs score them.

The folder is lora-train/tests/text_metrics; with --no-single-segments any other with two such files can
be scored as well.

    mteval     mteval-v13a-sig.pl of the E2E challenge's scripts: BLEU and NIST
    pymteval   pymteval.py of the same: BLEU and NIST
    sacrebleu  BLEU with its defaults (divided by 100)
    nltk       NIST, where every hypothesis has a single reference
    coco       pycocoevalcap: ROUGE-L and CIDEr
    meteor     METEOR 1.5 (pycocoevalcap's jar) with the stages exact and stem and our function
               words, with its English parameters and with others
    meteor-4   METEOR 1.5 as the COCO caption scripts call it, with all stages, for comparison

Each is given for the corpora that corpora() lists. The tokens of both tokenizations are given for each
line, and for those of lines.txt.
Perl prints its scores with four decimals; here a copy of the program prints more.

    pip install sacrebleu nltk pycocoevalcap future       # and java, perl
    git clone https://github.com/tuetschek/e2e-metrics
    python scripts/make_text_metrics_cases.py lora-train/tests/text_metrics --e2e-metrics e2e-metrics
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pycocoevalcap
import sacrebleu
from nltk.translate.nist_score import corpus_nist
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

METEOR_JAR = Path(pycocoevalcap.__path__[0]) / "meteor" / "meteor-1.5.jar"
FUNCTION_WORDS = Path(__file__).parent.parent / "lora-train/src/text_metrics/meteor/function_words.txt"
TWO_STAGES = ["-m", "exact stem", "-w", "1.0 0.6", "-s", str(FUNCTION_WORDS.resolve())]
OTHER_PARAMETERS = ["-m", "exact stem", "-w", "1.0 0.25", "-s", str(FUNCTION_WORDS.resolve()),
                    "-p", "0.5 1.5 0.4 0.6"]


def corpora(references, single_segments):
    """Name and segments: everything, parts of it, and each segment by itself."""
    everything = list(range(len(references)))
    yield "all", everything
    yield "first-half", everything[:len(everything) // 2]
    yield "second-half", everything[len(everything) // 2:]
    yield "single-reference", [i for i in everything if len(references[i]) == 1]
    if single_segments:
        yield from ((str(i), [i]) for i in everything)


class Mteval:
    """The Perl program, told to print all decimals and to do without an XML library, which it needs for
    other files than ours."""

    def __init__(self, scripts, directory):
        self.directory = Path(directory)
        source = (scripts / "mteval" / "mteval-v13a-sig.pl").read_text()
        self.program = self.directory / "mteval.pl"
        self.program.write_text(source.replace("%2.4f", "%.12f").replace("%.4f", "%.12f"))
        (self.directory / "XML").mkdir()
        (self.directory / "XML" / "Twig.pm").write_text("package XML::Twig;\n1;\n")

    def __call__(self, create_file, hypotheses, references):
        paths = {kind: self.directory / f"{kind}.sgm" for kind in ("ref", "src", "tst")}
        for kind, texts in (("ref", references), ("src", [""] * len(hypotheses)), ("tst", hypotheses)):
            create_file(texts, str(paths[kind]), kind)
        command = ["perl", f"-I{self.directory}", str(self.program), "-r", paths["ref"], "-s", paths["src"],
                   "-t", paths["tst"], "-f", str(self.directory / "log")]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        nist, bleu = re.search(r"NIST score = ([\d.]+) +BLEU score = ([\d.]+)", output).groups()
        return {"bleu": float(bleu), "nist": float(nist)}


class Meteor:
    """The Java program, fed with what the COCO caption scripts feed it."""

    def __init__(self, hypotheses, references, options):
        command = ["java", "-jar", "-Xmx2G", str(METEOR_JAR), "-", "-", "-stdio", "-l", "en", "-norm", *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        encoding="utf-8")
        self.statistics = [self.ask(["SCORE", *refs, hypothesis]) for hypothesis, refs in zip(hypotheses, references)]

    def ask(self, parts):
        self.process.stdin.write(" ||| ".join(parts) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def __call__(self, segments):
        self.ask(["EVAL", *(self.statistics[i] for i in segments)])
        lines = [self.process.stdout.readline() for _ in segments]
        return float(lines[-1])


def penn_treebank(texts):
    """The tokens of each text, joined by spaces."""
    images = {i: [{"caption": text}] for i, text in enumerate(texts)}
    tokens = PTBTokenizer().tokenize(images)
    return [tokens[i][0] for i in images]


def pymteval(hypotheses, references):
    from metrics.pymteval import BLEUScore, NISTScore
    scores = {"bleu": BLEUScore(), "nist": NISTScore()}
    for score in scores.values():
        for hypothesis, refs in zip(hypotheses, references):
            score.append(hypothesis, refs)
    result = {}
    for name, score in scores.items():
        with contextlib.suppress(ZeroDivisionError):  # NIST of texts that are too short
            result[name] = score.score()
    return result


def sacrebleu_score(hypotheses, references):
    streams = [[refs[i] if i < len(refs) else None for refs in references] for i in range(max(map(len, references)))]
    return {"bleu": sacrebleu.BLEU().corpus_score(hypotheses, streams).score / 100}


def nltk_nist(hypotheses, references):
    """Of the tokens of mteval-v13a, as the library has no tokenization of its own."""
    tokens = sacrebleu.tokenizers.tokenizer_13a.Tokenizer13a()
    split = [tokens(text.lower()).split() for text in hypotheses]
    return {"nist": corpus_nist([[tokens(r.lower()).split() for r in refs] for refs in references], split)}


def coco(hypotheses, references):
    gts, res = dict(enumerate(references)), {i: [text] for i, text in enumerate(hypotheses)}
    return {"rouge_l": float(Rouge().compute_score(gts, res)[0]), "cider": float(Cider().compute_score(gts, res)[0])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--e2e-metrics", type=Path, required=True, help="a clone of the challenge's scripts")
    parser.add_argument("--no-single-segments", action="store_true", help="whole corpora and no tokens only")
    arguments = parser.parse_args()

    # Behind the installed packages, whose names its own copies have.
    sys.path.append(str(arguments.e2e_metrics))
    from measure_scores import create_mteval_file, read_lines

    hypotheses = read_lines(arguments.directory / "hypotheses.txt")
    references = read_lines(arguments.directory / "references.txt", multi_ref=True)
    assert len(hypotheses) == len(references)
    lines = [*hypotheses, *(r for refs in references for r in refs)]
    if not arguments.no_single_segments:
        lines += read_lines(arguments.directory / "lines.txt")
    lines = list(dict.fromkeys(lines))
    tokens = dict(zip(lines, penn_treebank(lines)))
    split_hypotheses = [tokens[text] for text in hypotheses]
    split_references = [[tokens[text] for text in refs] for refs in references]
    meteors = {name: Meteor(split_hypotheses, split_references, options) for name, options in (
        ("meteor", TWO_STAGES), ("meteor-other-parameters", OTHER_PARAMETERS), ("meteor-4", []))}

    expected = {"versions": {name: importlib.metadata.version(name) for name in
                             ("sacrebleu", "nltk", "pycocoevalcap")} | {"meteor": "1.5", "mteval": "13a"},
                "corpora": {}}
    with tempfile.TemporaryDirectory() as directory:
        mteval = Mteval(arguments.e2e_metrics, directory)
        for name, segments in corpora(references, not arguments.no_single_segments):
            hyps, refs = [hypotheses[i] for i in segments], [references[i] for i in segments]
            scores = {"segments": segments, "mteval": mteval(create_mteval_file, hyps, refs),
                      "pymteval": pymteval(hyps, refs), "sacrebleu": sacrebleu_score(hyps, refs)}
            if name == "single-reference" and segments:
                scores["nltk"] = nltk_nist(hyps, refs)
            with contextlib.redirect_stdout(io.StringIO()):
                scores["coco"] = coco([split_hypotheses[i] for i in segments], [split_references[i] for i in segments])
            scores |= {name: meteor(segments) for name, meteor in meteors.items()}
            expected["corpora"][name] = scores
    if not arguments.no_single_segments:
        split = sacrebleu.tokenizers.tokenizer_13a.Tokenizer13a()
        expected["tokens"] = [{"line": line, "mteval": split(line), "penn_treebank": tokens[line]} for line in lines]
    # One corpus or line of text a line.
    text = json.dumps(expected, ensure_ascii=False)
    text = re.sub(r'(, |\{|\[)("[^"]+": \{"segments"|\{"line")', r"\1\n\2", text).replace(", \n", ",\n")
    assert json.loads(text) == expected
    (arguments.directory / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
