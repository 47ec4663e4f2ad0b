#!/usr/bin/env python3
"""How the time of a training step grows with tokens, rank and layers, as a table and a plot.

    pip install matplotlib
    cargo build --release --example bench
    python scripts/measure_growth.py --out growth.json --plot docs/pictures/growth.svg

A BERT of width 384 (MiniLM's shape) with adapters on query and value. Every figure is the least of several
rounds, each of which runs all sizes one after the other, in processes of their own: what else a shared machine
does makes steps longer, never shorter. Growth is the slope of
the fitted line through the logarithms of size and time, without the smallest size of three or more: 1 is
linear, less is better. Rounds that are in the output file already are not run again. Let nothing else run
beside it.
"""

import argparse
import json
import math
import pathlib
import statistics
import subprocess

SHAPE = ["--arch", "minilm", "--steps", "4"]
# What grows: its sizes, and the arguments of each.
AXES = {
    "tokens": ([1024, 2048, 4096, 8192, 16384], lambda n: ["--batch", n // 64, "--seq", 64]),
    "sequence length": ([64, 128, 256, 512], lambda n: ["--batch", 2048 // n, "--seq", n]),
    "rank": ([1, 2, 4, 8, 16, 32, 64], lambda n: ["--batch", 32, "--seq", 32, "--rank", n]),
    "layers": ([2, 4, 6, 8, 12], lambda n: ["--batch", 32, "--seq", 32, "--layers", n]),
}


def slope(sizes, seconds):
    """By least squares."""
    xs, ys = ([math.log(value) for value in values] for values in (sizes, seconds))
    x, y = statistics.mean(xs), statistics.mean(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)


def plot(results, path):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "growth"
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(AXES), figsize=(4 * len(AXES), 3.4), constrained_layout=True)
    for panel, (axis, (sizes, _)) in zip(panels, AXES.items()):
        least = [min(results[axis][str(n)]) for n in sizes]
        panel.plot(sizes, least, marker="o", label="measured")
        panel.plot(sizes, [least[-1] * n / sizes[-1] for n in sizes], "--", color="grey", label="linear")
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(sizes, [str(n) for n in sizes])
        panel.minorticks_off()
        panel.set_xlabel(axis)
    panels[0].set_ylabel("seconds a step")
    panels[0].legend()
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", default="target/release/examples/bench")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("growth.json"))
    parser.add_argument("--plot", help="where the plot goes, an SVG file")
    arguments = parser.parse_args()
    results = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for round_number in range(arguments.rounds):
        for axis, (sizes, words) in AXES.items():
            for size in sizes:
                times = results.setdefault(axis, {}).setdefault(str(size), [])
                if len(times) > round_number:
                    continue
                command = [arguments.program, *SHAPE, *(str(word) for word in words(size))]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                times.append(json.loads(done.stdout.splitlines()[-1])["step_s"])
                print(f"round {round_number + 1}: {axis} {size}: {times[-1]} s", flush=True)
                arguments.out.write_text(json.dumps(results, indent=1))
    print("| what grows | sizes | seconds a step | growth |\n|---|---|---|---|")
    for axis, (sizes, _) in AXES.items():
        least = [min(results[axis][str(n)]) for n in sizes]
        growth = slope(sizes[1:], least[1:])
        seconds = ", ".join(f"{value:.2f}" for value in least)
        print(f"| {axis} | {', '.join(map(str, sizes))} | {seconds} | {growth:.2f} |")
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
