"""Keys whose values are not read as YAML alone: paths, texts, and lists that may be given with commas."""

from __future__ import annotations

# Text whatever it looks like, such as 2024. The last part of a nested key decides: data::root is a path.
PATHS = frozenset(
    {
        "args_file",
        "bundle",
        "bundle_root",
        "ckpt_path",
        "config_file",
        "dataset_dir",
        "facts",
        "folder",
        "meta_file",
        "metrics",
        "output_dir",
        "path",
        "preset",
        "properties_path",
        "root",
        "study_dir",
        "weights",
    }
)
OPTIONAL_PATHS = frozenset(  # null has a meaning
    {
        "checkpoint_path",
        "diffusion_pretrained",
        "initial_dir",
        "initial_weights",
        "manifest",
        "picture",
        "pretrained",
        "recorded_in",
        "teacher_outputs",
        "unlabelled_dir",
    }
)
TEXTS = frozenset(
    {
        "changes",
        "dataset",
        "experiment_name",
        "final_id",
        "init_id",
        "run_id",
        "run_name",
        "tracking_uri",
        "trained_on",
        "url",
        "version",
        "workflow_name",
        "workflow_type",
    }
)
LISTS = frozenset(  # 1,99 is [1, 99]
    {
        "config_file",
        "diffusion_channels",
        "labels",
        "lora_ranks",
        "lora_targets",
        "meta_file",
        "methods",
        "overlay",
        "percentiles",
        "seeds",
        "stages",
        "transfer_sizes",
        "window",
    }
)


def last_part(key: str) -> str:
    """Return the last part of a nested key, such as ``root`` of ``data::root`` or ``data#root``."""
    return key.replace("#", "::").rpartition("::")[2]


def is_path(key: str) -> bool:
    """Say whether the value of a key is a path, or null where that means something."""
    return last_part(key) in PATHS | OPTIONAL_PATHS
