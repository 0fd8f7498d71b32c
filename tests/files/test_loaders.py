"""The list of all that opens files which may come from others, so that a new loader is tried with bad ones too."""

from __future__ import annotations

import ast
from pathlib import Path

import common

_ROOT = Path(common.__file__).parent
_OPENERS = {
    *(
        "torch.load",
        "torch.jit.load",
        "np.load",
        "onnx.load",
        "open_memmap",
        "from_pretrained",
        "load_file",
        "safe_open",
    ),
    *("pickle.load", "pickle.loads", "dill.load", "joblib.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
    *("ZipFile", "extractall", "extract", "tarfile.open", "unpack_archive", "import_module"),
    *("runpy.run_path", "hub.load", "load_state_dict_from_url"),
}
_BUILTIN = {"exec", "eval"}
# Tried in test_untrusted_checkpoints.py, test_untrusted_folders.py, test_working_folder.py,
# test_pretrained_diffusion.py and tests/release/test_archive.py.
_TRIED = {
    "files/checkpoints.py": {"torch.load", "ZipFile"},
    "teachers/sam_weights.py": {"from_pretrained", "load_file"},
    "teachers/backbone_weights.py": {"from_pretrained"},
    "teachers/model_files.py": {"load_file"},
    "teachers/folder.py": {"from_pretrained", "safe_open"},
    "synthesis/diffusion_folder.py": {"load_file"},
    "synthesis/pretrained_diffusion.py": {"load_file"},
    "synthesis/working_folder.py": {"load_file"},
    "distillation/stored_arrays.py": {"open_memmap"},
    "release/archive.py": {"ZipFile"},
}
# What they open the project wrote itself just before, or ships; YAML is read by loaders that make plain values alone.
_OWN = {
    "commands/registry.py": {"import_module"},
    "commands/sources.py": {"import_module"},
    "configs/values.py": {"yaml.load"},
    "files/wheels.py": {"ZipFile"},  # of a wheel whose hash pip has compared
    "release/exports.py": {"torch.jit.load", "onnx.load", "ZipFile"},
    "release/config_text.py": {"yaml.load"},
    "datasets/readers/optional.py": {"import_module"},
    "datasets/registry.py": {"import_module"},
    "teachers/registry.py": {"import_module"},
    "teachers/network_weights.py": {"import_module"},
    "teachers/sam_hq.py": {"from_pretrained"},  # of nn.Embedding, from a tensor
    "teachers/efficient_sam.py": {"from_pretrained"},  # of nn.Embedding, from a tensor
    "teachers/sam_decoder.py": {"from_pretrained"},  # of nn.Embedding, from a tensor
}


def openers(path: Path) -> set[str]:
    """Return what a module calls of these, by whatever names lead to it."""
    calls = (node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    names = {f".{ast.unparse(each)}" for each in calls}
    return {name for name in _BUILTIN if f".{name}" in names} | {
        opener for opener in _OPENERS if any(name.endswith(f".{opener}") for name in names)
    }


def test_every_loader_is_tried():
    found = {path.relative_to(_ROOT).as_posix(): openers(path) for path in _ROOT.rglob("*.py")}
    assert {name: names for name, names in found.items() if names} == _TRIED | _OWN


def test_pickles_are_never_unpickled_whole():
    for path in _ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                options = {each.arg: ast.unparse(each.value) for each in node.keywords}
                assert options.get("weights_only") == "True", path
            if isinstance(node, ast.keyword):
                assert node.arg not in ("allow_pickle", "trust_remote_code"), path
