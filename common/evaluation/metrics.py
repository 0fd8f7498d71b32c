"""The metrics of an evaluation, by the names that they have in ``metrics.csv`` and ``summary.json``."""

from __future__ import annotations

TITLES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95"}
DIGITS = {"dice": 3, "iou": 3, "hd95": 1}  # in print
METRICS = tuple(TITLES)
