"""What the dataset modules share."""

import io
import random

import numpy as np
import pytest
from PIL import Image

from common.datasets.checks import Faults, read_image, repeat, seeded_order, split_groups, written_whole
from common.errors import InputError

PATIENTS = [f"patient{number}" for number in range(20)]


def image_bytes(format_name):
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    Image.fromarray(noise).save(stream, format_name)
    return stream.getvalue()


def test_read_image_returns_pixels_that_outlive_the_file(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(image_bytes("PNG"))
    image = read_image(path)
    path.unlink()
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(image_bytes("PNG")))))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format_name", ["GIF", "TIFF", "PNG", "BMP", "JPEG"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_image_is_named(tmp_path, format_name, share):
    data = image_bytes(format_name)
    path = tmp_path / "21_training.tif"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"21_training\.tif"):
        read_image(path)


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file"), (b"", "empty"), (b"<html>", "cannot be read")])
def test_file_that_is_no_image_is_named_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "21_training.tif"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"21_training\.tif: .*{reason}"):
        read_image(path)


def test_faults_are_raised_together():
    faults = Faults("DRIVE", "/data/DRIVE")
    faults.raise_if_any()
    faults.add("a.tif: no label")
    with faults.collect():
        raise InputError("b.tif: empty")
    with pytest.raises(InputError) as caught:
        faults.raise_if_any()
    assert str(caught.value).splitlines() == [
        "DRIVE in /data/DRIVE: 2 faults",
        "  - a.tif: no label",
        "  - b.tif: empty",
    ]


def test_only_input_errors_are_collected():
    with pytest.raises(ZeroDivisionError), Faults("DRIVE", "").collect():
        raise ZeroDivisionError


def test_many_faults_are_counted_and_cut_short():
    faults = Faults("DRIVE", "/data")
    for number in range(33):
        faults.add(f"{number}.tif: empty")
    with pytest.raises(InputError) as caught:
        faults.raise_if_any()
    lines = str(caught.value).splitlines()
    assert "33 faults" in lines[0]
    assert len(lines) == 22
    assert lines[-1].strip() == "... and 13 more"


def test_split_is_the_same_for_any_order_of_input():
    shuffled = random.Random(1).sample(PATIENTS, len(PATIENTS))
    assert split_groups(PATIENTS, [0.25, 2], seed=3) == split_groups(shuffled * 2, [0.25, 2], seed=3)


def test_split_parts_are_disjoint_and_complete():
    parts = split_groups(PATIENTS, [0.25, 2], seed=0)
    assert [len(part) for part in parts] == [5, 2, 13]
    assert sorted(name for part in parts for name in part) == sorted(PATIENTS)


def test_split_depends_on_the_seed():
    assert split_groups(PATIENTS, [5], seed=0) != split_groups(PATIENTS, [5], seed=1)


def test_split_is_pinned():
    """Results that were published with a seed must stay reproducible."""
    assert seeded_order(["21", "22", "23", "24", "25", "26"], seed=0) == ["26", "24", "23", "25", "21", "22"]


def test_removing_a_group_keeps_the_order_of_the_others():
    order = seeded_order(PATIENTS, seed=0)
    assert seeded_order([p for p in PATIENTS if p != order[4]], seed=0) == order[:4] + order[5:]


def test_split_with_too_few_groups_says_how_many_are_needed():
    with pytest.raises(InputError, match="at least 4 groups, found 3"):
        split_groups(["a", "b", "c", "c"], [1, 2], seed=0)


@pytest.mark.parametrize("size", [0, -1])
def test_split_refuses_an_empty_part(size):
    with pytest.raises(InputError, match="at least one group"):
        split_groups(PATIENTS, [size], seed=0)


@pytest.mark.parametrize("size", [0.0, 1.0, 1.5])
def test_split_refuses_a_fraction_outside_zero_and_one(size):
    with pytest.raises(ValueError, match="between 0 and 1"):
        split_groups(PATIENTS, [size], seed=0)


def test_repeat_cycles_and_cuts():
    assert repeat(["a", "b", "c"], 7) == ["a", "b", "c", "a", "b", "c", "a"]
    assert repeat(["a", "b", "c"], 2) == ["a", "b"]


@pytest.mark.parametrize(("items", "length"), [([], 3), (["a"], 0)])
def test_repeat_refuses_nothing(items, length):
    with pytest.raises(ValueError, match=r"items must not be empty|length must be at least 1"):
        repeat(items, length)


def test_folder_appears_only_when_it_is_complete(tmp_path):
    target = tmp_path / "DRIVE"
    with written_whole(target) as partial:
        (partial / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"
    assert list(tmp_path.iterdir()) == [target]


def test_interrupted_writer_leaves_nothing(tmp_path):
    def write():
        with written_whole(tmp_path / "DRIVE") as partial:
            (partial / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


def test_existing_data_is_never_overwritten(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(InputError, match="exists already"), written_whole(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "precious"
