"""Public datasets, and what they share: one interface, splits, issues, and the report of ``check``."""

from common.datasets.registry import DATASETS, build_dataset, dataset_class, dataset_keys, find_dataset, write_phantoms

__all__ = ["DATASETS", "build_dataset", "dataset_class", "dataset_keys", "find_dataset", "write_phantoms"]
