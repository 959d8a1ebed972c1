"""Prints false accepts and false rejects by raw cosine, to choose a model's threshold without a calibration.

voiceauth evaluate FOLDER --model campplus --raw --scores scores.csv
python benchmarks/choose_threshold.py scores.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

THRESHOLDS = np.arange(0.40, 0.76, 0.05).round(2)


def main() -> None:
    """Print the table. A trial without a score counts as a reject."""
    with Path(sys.argv[1]).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    cosines = np.array([float(row["score"] or "-1") for row in rows])
    target = np.array([row["label"] == "target" for row in rows])
    print(f"{np.sum(target)} target and {np.sum(~target)} non-target trials")
    print("threshold  false accepts  false rejects")
    for threshold in THRESHOLDS:
        accepted = cosines >= threshold
        wrong, missed = accepted[~target], ~accepted[target]
        accepts = f"{np.mean(wrong):7.2%} ({np.sum(wrong):3d})"
        rejects = f"{np.mean(missed):7.2%} ({np.sum(missed):3d})"
        print(f"{threshold:9.2f}  {accepts}  {rejects}")


if __name__ == "__main__":
    main()
