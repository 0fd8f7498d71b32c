"""Every loader of a folder refuses in one line what was put in the place of a file of it; nothing runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from integration import tiny_unet
from safetensors.torch import load_file, save_file
from transformers import AutoModel, Dinov2Config
from untrusted import JSONS, SAFETENSORS

from common.distillation.stored_arrays import find_damage, write_arrays
from common.errors import InputError
from common.synthesis.diffusion_folder import load_pipeline, save_pipeline
from common.synthesis.transfer_set import read_transfer_set
from common.teachers.backbone_weights import load_backbone
from common.teachers.folder import load_teacher, save_teacher
from common.teachers.lora import add_lora
from common.teachers.sam import SamTeacher
from common.teachers.sam2_weights import load_sam2
from common.teachers.sam_hq_weights import load_sam_hq
from common.teachers.sam_weights import load_sam

DINOV2 = Dinov2Config(hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=56, mlp_ratio=2)
LOADERS: dict[str, Callable[[Path], object]] = {
    "sam": load_sam,
    "sam2": load_sam2,
    "sam_hq": load_sam_hq,
    "backbone": load_backbone,
    "teacher": load_teacher,
    "diffusion": load_pipeline,
}
WEIGHTS = {
    "sam": "model.safetensors",
    "sam2": "model.safetensors",
    "sam_hq": "model.safetensors",
    "backbone": "model.safetensors",
    "teacher": "adapter_model.safetensors",
    "diffusion": "unet/diffusion_pytorch_model.safetensors",
}
CONFIGS = [
    ("sam", "config.json"),
    ("sam2", "config.json"),
    ("sam_hq", "config.json"),
    ("backbone", "config.json"),
    ("teacher", "teacher.json"),
    ("teacher", "adapter_config.json"),
    ("diffusion", "model_index.json"),
    ("diffusion", "unet/config.json"),
    ("diffusion", "scheduler/scheduler_config.json"),
]


@pytest.fixture(scope="module")
def originals(tmp_path_factory, tiny_sam_folder, tiny_sam2_folder, tiny_sam_hq_folder) -> Path:
    """A folder of each kind, by its name; not to be changed."""
    parent = tmp_path_factory.mktemp("originals")
    shutil.copytree(tiny_sam_folder, parent / "sam")
    shutil.copytree(tiny_sam2_folder, parent / "sam2")
    shutil.copytree(tiny_sam_hq_folder, parent / "sam_hq")
    AutoModel.from_config(DINOV2).save_pretrained(parent / "backbone")
    save_teacher(add_lora(SamTeacher(tiny_sam_folder, num_classes=3), rank=2), parent / "teacher")
    save_pipeline(tiny_unet(), DDPMScheduler(), parent / "diffusion")
    return parent


@pytest.fixture
def folder(originals, tmp_path) -> Callable[[str], Path]:
    return lambda kind: shutil.copytree(originals / kind, tmp_path / "given" / kind)


def refused(kind: str, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        LOADERS[kind](folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change_json(path: Path, **entries: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def with_every_number_a_word(content: object) -> object:
    if isinstance(content, dict):
        return {key: with_every_number_a_word(value) for key, value in content.items()}
    return "much" if isinstance(content, (int, float)) else content


@pytest.mark.parametrize("kind", LOADERS)
def test_what_was_saved_is_loaded(kind, folder):
    LOADERS[kind](folder(kind))


@pytest.mark.parametrize("kind", LOADERS)
class TestWeights:
    @pytest.mark.parametrize("content", SAFETENSORS)
    def test_that_are_no_safetensors(self, kind, content, folder):
        path = folder(kind)
        (path / WEIGHTS[kind]).write_bytes(SAFETENSORS[content])
        assert str(path) in refused(kind, path)

    def test_that_are_no_numbers(self, kind, folder):
        path = folder(kind) / WEIGHTS[kind]
        state = load_file(path)
        state[max(state)].view(-1)[0] = float("nan")
        save_file(state, path, metadata={"format": "pt"})
        message = refused(kind, path.parents[WEIGHTS[kind].count("/")])
        assert f"{path} was refused: 1 of its weights are NaN or infinite" in message

    def test_that_are_a_link_to_others(self, kind, folder, originals):
        path = folder(kind)
        (path / WEIGHTS[kind]).unlink()
        (path / WEIGHTS[kind]).symlink_to(originals / kind / WEIGHTS[kind])
        assert f"is a link to {originals / kind / WEIGHTS[kind]}, outside of its folder" in refused(kind, path)

    @pytest.mark.parametrize("linked", [False, True])
    def test_that_are_a_pipe(self, kind, linked, folder):
        path = folder(kind)
        (path / WEIGHTS[kind]).unlink()
        os.mkfifo(path / "pipe" if linked else path / WEIGHTS[kind])
        if linked:
            (path / WEIGHTS[kind]).symlink_to(path / "pipe")
        assert "is no regular file" in refused(kind, path)

    def test_that_an_index_names_elsewhere(self, kind, folder, originals):
        path = folder(kind)
        file = path / WEIGHTS[kind]
        away = os.path.relpath(originals / kind / WEIGHTS[kind], file.parent)
        file.unlink()
        index = {"metadata": {}, "weight_map": {"conv_in.weight": away, "vision_encoder.pos_embed": away}}
        file.with_name(f"{file.name}.index.json").write_text(json.dumps(index))
        assert f"{file.name} is missing" in refused(kind, path)

    def test_that_are_in_a_cache_of_the_hub(self, kind, originals, tmp_path):
        repository = tmp_path / "models--owner--name"
        snapshot, blobs = repository / "snapshots" / "0a1b", repository / "blobs"
        blobs.mkdir(parents=True)
        for number, file in enumerate(path for path in (originals / kind).rglob("*") if path.is_file()):
            shutil.copy(file, blobs / str(number))
            link = snapshot / file.relative_to(originals / kind)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
        LOADERS[kind](snapshot)
        (snapshot / WEIGHTS[kind]).unlink()
        (snapshot / WEIGHTS[kind]).symlink_to(originals / kind / WEIGHTS[kind])
        assert "outside of its folder" in refused(kind, snapshot)


@pytest.mark.parametrize(("kind", "name"), CONFIGS)
class TestConfigs:
    @pytest.mark.parametrize("content", JSONS)
    def test_that_are_no_mapping(self, kind, name, content, folder):
        path = folder(kind)
        (path / name).write_bytes(JSONS[content])
        assert str(path) in refused(kind, path)

    def test_that_are_huge_are_not_read(self, kind, name, folder, monkeypatch):
        path, read_text = folder(kind), Path.read_text

        def read_small(file: Path, *arguments: object, **options: object) -> str:
            assert file.stat().st_size < 10**9
            return read_text(file, *arguments, **options)

        os.truncate(path / name, 5 * 10**9)  # which takes no room on the disk
        monkeypatch.setattr(Path, "read_text", read_small)
        refused(kind, path)

    def test_that_are_links_to_a_system_file(self, kind, name, folder):
        path = folder(kind)
        (path / name).unlink()
        (path / name).symlink_to("/etc/passwd")
        message = refused(kind, path)
        assert "outside of its folder" in message
        assert "root:" not in message


@pytest.mark.parametrize(("kind", "name"), [each for each in CONFIGS if each[1] != "model_index.json"])
def test_configs_whose_numbers_are_words(kind, name, folder):
    path = folder(kind)
    content = json.loads((path / name).read_text(encoding="utf-8"))
    (path / name).write_text(json.dumps(with_every_number_a_word(content)), encoding="utf-8")
    assert str(path) in refused(kind, path)


class TestCodeNextToWeights:
    """Modules that a config names are not imported, be they in the folder or in the working directory."""

    @pytest.fixture(autouse=True)
    def sprung(self, tmp_path, monkeypatch) -> Path:
        sprung = tmp_path / "sprung"
        (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(sprung)!r})\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        yield sprung
        assert not sprung.exists()

    @pytest.mark.parametrize("kind", ["sam", "sam2", "sam_hq"])
    def test_of_a_sam(self, kind, folder, tmp_path, originals):
        path = folder(kind)
        shutil.copy(tmp_path / "evil.py", path)
        base = {"base_model_name_or_path": str(originals / "absent"), "peft_type": "LORA"}
        (path / "adapter_config.json").write_text(json.dumps(base))
        change_json(
            path / "config.json",
            auto_map={"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"},
            quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True},
            attn_implementation="evil/attention",
            _attn_implementation="evil/attention",
            _name_or_path=str(tmp_path),
        )
        config = json.loads((path / "config.json").read_text())
        config["vision_config"] |= {"attn_implementation": "evil/attention", "auto_map": {"AutoModel": "evil.Evil"}}
        (path / "config.json").write_text(json.dumps(config))
        expected, found = (LOADERS[kind](place).state_dict() for place in (originals / kind, path))
        assert all(torch.equal(found[name], value) for name, value in expected.items())

    @pytest.mark.parametrize(
        "entries",
        [
            {"megatron_config": {"tensor_model_parallel_size": 1}, "megatron_core": "evil"},
            {"peft_type": "XLORA"},
            {"layer_replication": [[0, 1000]]},
            {"init_lora_weights": "pissa"},
            {"use_dora": True},
            {"r": 10**9},
            {"target_modules": "(a+)+$"},
            {"target_modules": ["qkv"]},
        ],
    )
    def test_of_an_adapter(self, folder, entries):
        path = folder("teacher")
        change_json(path / "adapter_config.json", **entries)
        assert "run finetune_teacher again" in refused("teacher", path)

    def test_of_a_teacher(self, folder, tmp_path):
        path = folder("teacher")
        shutil.copy(tmp_path / "evil.py", path)
        for entries in (
            {"family": "evil"},
            {"family": "evil:Evil"},
            {"num_classes": 10**9},
            {"pretrained": "../evil.pth"},
        ):
            before = (path / "teacher.json").read_text()
            change_json(path / "teacher.json", **entries)
            refused("teacher", path)
            (path / "teacher.json").write_text(before)

    @pytest.mark.parametrize(
        ("name", "entries"),
        [
            ("model_index.json", {"_class_name": ["evil", "Evil"]}),
            ("model_index.json", {"unet": ["evil", "Evil"]}),
            ("unet/config.json", {"layers_per_block": 10**9}),
            ("unet/config.json", {"block_out_channels": [10**7, 10**7]}),
            ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**12}),
        ],
    )
    def test_of_a_diffusion_model(self, folder, tmp_path, name, entries):
        path = folder("diffusion")
        shutil.copy(tmp_path / "evil.py", path)
        change_json(path / name, **entries)
        assert "run train_diffusion" in refused("diffusion", path)

    def test_of_a_diffusion_model_that_is_larger_than_its_weights(self, folder, monkeypatch):
        """It is refused before any of it is made."""
        path, made, build = folder("diffusion"), [], UNet2DModel.from_config

        def note(config: dict) -> UNet2DModel:
            unet = build(config)
            made.append(all(parameter.is_meta for parameter in unet.parameters()))
            return unet

        change_json(path / "unet/config.json", block_out_channels=[640, 640])
        monkeypatch.setattr(UNet2DModel, "from_config", note)
        assert "size mismatch" in refused("diffusion", path)
        assert made == [True]

    def test_of_its_parts(self, folder, tmp_path):
        path = folder("diffusion")
        shutil.copy(tmp_path / "evil.py", path / "unet")
        config = {"auto_map": {"ModelMixin": "evil.Evil"}, "quantization_config": {"quant_method": "bitsandbytes"}}
        change_json(path / "unet/config.json", **config, _class_name="Evil")
        change_json(path / "model_index.json", safety_checker=["evil", "Evil"])
        load_pipeline(path)


class TestArrays:
    """The stored outputs of a teacher are computed anew where they are not as they were written."""

    @pytest.fixture
    def described(self, tmp_path) -> dict:
        return write_arrays(tmp_path, {"logits": (4,)}, [{"logits": np.ones(4, np.float16)}])

    def test_that_are_sound(self, described, tmp_path):
        assert find_damage(tmp_path, ["logits"], described) is None

    def test_that_would_run_code_or_fill_the_memory(self, described, tmp_path, trap):
        path = tmp_path / "logits.npy"
        pickled, sprung = trap

        def header(shape: tuple[int, ...]) -> None:
            with path.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})

        replacements = {
            "objects": lambda: np.save(path, np.array([Path(sprung)], dtype=object), allow_pickle=True),
            "a pickle": lambda: shutil.copy(pickled, path),
            "an archive": lambda: np.savez_compressed(path.open("wb"), logits=np.zeros(10**7, np.float16)),
            "a huge shape": lambda: header((10**15,)),
            "a negative shape": lambda: header((-4,)),
            "a link": lambda: path.symlink_to("/etc/passwd"),
            "a pipe": lambda: os.mkfifo(path),
        }
        for what, replace in replacements.items():
            path.unlink(missing_ok=True)
            replace()
            assert find_damage(tmp_path, ["logits"], described) == "logits.npy is missing or damaged", what
        assert not sprung.exists()


def test_a_transfer_set_with_a_huge_or_nested_list_is_refused(tmp_path):
    for content in (JSONS["nested too deeply"], JSONS["null"]):
        (tmp_path / "datalist.json").write_bytes(content)
        with pytest.raises(InputError, match="is damaged"):
            read_transfer_set(tmp_path, in_channels=1)
