"""A run that was killed goes on where it stopped, and only with what belongs to it."""

from __future__ import annotations

import errno
import json
import logging
from pathlib import Path

import pytest
from monai.transforms import Resize
from textures import small_textures
from transfer_sets import Brightness, build, contents, make_training_images, save_model

from common.errors import InputError
from common.synthesis import transfer_set_builder, working_folder
from common.synthesis.diffusion_folder import load_pipeline
from common.synthesis.pictures import write_png
from common.synthesis.sampling import sample


@pytest.fixture
def interruption(monkeypatch):
    """Make the sampler fail at its second batch, as if the machine went down."""
    calls = []

    def failing_sample(*args, **kwargs):
        calls.append(kwargs)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sample(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(transfer_set_builder, "sample", failing_sample)
        yield calls


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, model_dir, interruption):
    def run(output_dir: Path) -> None:
        """As a process of its own would: with objects that are equal, and not the same."""
        arguments = {"teacher": Brightness(), "teacher_transform": Resize((32, 32), mode="bilinear")}
        training = make_training_images(small_textures(4))
        build(load_pipeline(model_dir), output_dir, training, num_images=5, batch_size=2, **arguments)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "resumed")
    assert not (tmp_path / "resumed").exists()
    half_done = tmp_path / "resumed.partial/images"
    assert sorted(path.name for path in half_done.iterdir()) == ["000001.png", "000002.png"]
    (half_done / "000003.png").write_bytes(b"first image of a batch that was cut off")

    run(tmp_path / "resumed")
    assert len(interruption) == 4  # one batch before the interruption, one that failed, and the two that missed
    run(tmp_path / "whole")
    assert contents(tmp_path / "resumed") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    "change", ["seed", "num_images", "model", "training", "teacher", "teacher_transform", "copy_threshold"]
)
def test_images_of_another_run_are_not_mixed_in(tmp_path, pipeline, interruption, caplog, change):
    arguments = {"num_images": 5, "seed": 0, "copy_threshold": 0.1, "batch_size": 2, "num_inference_steps": 1}
    arguments |= {"training": make_training_images(small_textures(4)), "teacher": Brightness()}
    arguments |= {"teacher_transform": Resize((32, 32), mode="bilinear")}
    with pytest.raises(KeyboardInterrupt):
        build(pipeline, tmp_path / "transfer", **arguments)
    if change == "model":
        pipeline = load_pipeline(save_model(tmp_path / "other", seed=1))
    else:
        other = {"training": make_training_images(small_textures(4, seed=1)), "teacher": Brightness(10.0)}
        other |= {"teacher_transform": None}
        step = 0.1 if change == "copy_threshold" else 1
        arguments[change] = other[change] if change in other else arguments[change] + step
    with caplog.at_level(logging.WARNING):
        build(pipeline, tmp_path / "transfer", **arguments)
    assert "starting over" in caplog.text
    build(pipeline, tmp_path / "fresh", **arguments)
    assert contents(tmp_path / "transfer") == contents(tmp_path / "fresh")


def test_a_folder_without_readable_settings_is_started_over(tmp_path, pipeline, caplog):
    (tmp_path / "transfer.partial").mkdir()
    (tmp_path / "transfer.partial/settings.json").write_text("{")
    (tmp_path / "transfer.partial/stale.txt").touch()
    with caplog.at_level(logging.WARNING):
        build(pipeline, tmp_path / "transfer", make_training_images(small_textures(3)), num_images=1)
    assert "starting over" in caplog.text
    assert not (tmp_path / "transfer/stale.txt").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\x08\0\0\0\0\0\0\0{}      ", b"\xff" * 64],
    ids=["empty", "cut off", "without features", "other bytes"],
)
@pytest.mark.parametrize("name", ["000000.json", "000000.safetensors"])
def test_a_damaged_batch_is_refused(tmp_path, pipeline, interruption, name, content):
    training = make_training_images(small_textures(4))
    with pytest.raises(KeyboardInterrupt):
        build(pipeline, tmp_path / "transfer", training, num_images=5, batch_size=2)
    (tmp_path / "transfer.partial/judgements" / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} cannot be read .*; delete .*transfer.partial, and synthesize again"):
        build(pipeline, tmp_path / "transfer", training, num_images=5, batch_size=2)


def test_a_run_that_a_full_disk_ended_goes_on(tmp_path, model_dir, monkeypatch):
    training, written = make_training_images(small_textures(4)), []

    def write_until_full(picture, path):
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        write_png(picture, path)

    with monkeypatch.context() as patch:
        patch.setattr(working_folder, "write_png", write_until_full)
        with pytest.raises(OSError, match="No space left"):
            build(load_pipeline(model_dir), tmp_path / "full", training, num_images=5, batch_size=2)
    assert not (tmp_path / "full").exists()
    for name in ("full", "whole"):
        build(load_pipeline(model_dir), tmp_path / name, training, num_images=5, batch_size=2)
    assert contents(tmp_path / "full") == contents(tmp_path / "whole")


@pytest.mark.parametrize("change", ["another measure", "labels"])
def test_what_was_judged_or_drawn_otherwise_is_not_mixed_in(
    tmp_path, pipeline, interruption, caplog, monkeypatch, change
):
    training = make_training_images(small_textures(4))
    with monkeypatch.context() as patch:
        patch.setattr(transfer_set_builder, "JUDGED_BY", ["features"])
        with pytest.raises(KeyboardInterrupt):
            build(pipeline, tmp_path / "transfer", training, num_images=5, batch_size=2)
    if change == "labels":
        path = tmp_path / "transfer.partial/settings.json"
        known = json.loads(path.read_text()) | {"judged_by": transfer_set_builder.JUDGED_BY, "classes": ["a", "b"]}
        path.write_text(json.dumps(known))
    with caplog.at_level(logging.WARNING):
        build(pipeline, tmp_path / "transfer", training, num_images=5, batch_size=2)
    assert "starting over" in caplog.text
