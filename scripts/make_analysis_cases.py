#!/usr/bin/env python3
"""Write lora-core/tests/analysis/cases.json: updates analysed by numpy.

Factors and a weight of small sizes, and what section 7 of the LoRA paper computes of them: singular values
of `s·B·A`, the effective rank of Roy and Vetterli (2007), the similarities φ(i, j) between the directions of
two `A`, and of two updates, and the norms of table 7.

    pip install numpy
    python scripts/make_analysis_cases.py lora-core/tests/analysis/cases.json --seed 3
"""

import argparse
import json

import numpy as np

INPUTS, OUTPUTS = 9, 7


def figures(a, b, scaling, weight):
    """What is known of one update."""
    delta = scaling * b.astype(np.float64) @ a.astype(np.float64)
    u, s, vt = np.linalg.svd(delta)
    rank = len(a)
    s = s[:rank]
    share = s / s.sum()
    weight = weight.astype(np.float64)
    wu, _, wvt = np.linalg.svd(weight)
    along_update = np.linalg.norm(u[:, :rank].T @ weight @ vt[:rank].T)
    return {
        "singular_values": s.tolist(),
        "norm": float(np.linalg.norm(delta)),
        "effective_rank": float(np.exp(-(share * np.log(share)).sum())),
        "weight_norm": float(np.linalg.norm(weight)),
        "along_update": float(along_update),
        "along_weight": float(np.linalg.norm(wu[:, :rank].T @ weight @ wvt[:rank].T)),
        "factor": float(np.linalg.norm(delta) / along_update),
    }


def similarities(one, other):
    """φ(i, j) of the first i rows of one and the first j of the other, both orthonormal."""
    table = []
    for i in range(1, len(one) + 1):
        row = [np.linalg.norm(one[:i] @ other[:j].T) ** 2 / min(i, j) for j in range(1, len(other) + 1)]
        table.append(row)
    return table


def directions(matrix, count):
    return np.linalg.svd(matrix.astype(np.float64))[2][:count]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
    weight = normal(OUTPUTS, INPUTS)
    adapters = [(normal(r, INPUTS), normal(OUTPUTS, r), scaling) for r, scaling in [(2, 2.0), (5, 0.5)]]
    deltas = [scaling * b.astype(np.float64) @ a.astype(np.float64) for a, b, scaling in adapters]
    rank = [len(a) for a, _, _ in adapters]
    case = {
        "weight": weight.tolist(),
        "adapters": [
            {"a": a.tolist(), "b": b.tolist(), "scaling": scaling, **figures(a, b, scaling, weight)}
            for a, b, scaling in adapters
        ],
        "similarities": {
            "a": similarities(*[directions(a, len(a)) for a, _, _ in adapters]),
            "input": similarities(*[directions(delta, r) for delta, r in zip(deltas, rank)]),
            "output": similarities(*[directions(delta.T, r) for delta, r in zip(deltas, rank)]),
        },
    }
    with open(args.out, "w") as file:
        json.dump(case, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
