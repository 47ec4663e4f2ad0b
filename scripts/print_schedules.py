#!/usr/bin/env python3
"""Writes the learning rates of Hugging Face's schedules that lora-train's tests compare with.

    pip install torch transformers
    python scripts/print_schedules.py > lora-train/src/config/schedules.in
"""
import torch
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_polynomial_decay_schedule_with_warmup,
)

RATE, WARMUP, STEPS = 0.1, 3, 10


def rates(make):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    schedule = make(optimizer)
    found = []
    for _ in range(STEPS + 1):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


print("// From scripts/print_schedules.py.")
print("[")
for name, power, make in [
    ("Linear", 1.0, lambda o: get_linear_schedule_with_warmup(o, WARMUP, STEPS)),
    ("Cosine", 1.0, lambda o: get_cosine_schedule_with_warmup(o, WARMUP, STEPS)),
    ("Constant", 1.0, lambda o: get_constant_schedule_with_warmup(o, WARMUP)),
    ("Polynomial", 1.0, lambda o: get_polynomial_decay_schedule_with_warmup(o, WARMUP, STEPS)),
    ("Polynomial", 2.0, lambda o: get_polynomial_decay_schedule_with_warmup(o, WARMUP, STEPS, power=2.0)),
]:
    values = ", ".join(f"{rate!r}" for rate in rates(make))
    print(f"    (LrSchedulerType::{name}, {power}, [{values}]),")
print("]")
