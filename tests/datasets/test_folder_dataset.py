"""A dataset of one's own: its splits, what its check finds, and what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.datasets.check_report import check_dataset
from common.datasets.folder import FolderDataset
from common.datasets.folder_files import contents
from common.errors import InputError
from common.files.phantom_mark import are_phantoms

PLAIN = {"images": "photos", "labels": "masks", "classes": ["background", "wound"], "label_format": "black_white"}


def photograph(number: int, size: tuple[int, int] = (24, 16), mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), np.uint8)).convert(mode)


def mask(size: tuple[int, int] = (24, 16), value: int = 255) -> Image.Image:
    picture = np.zeros(size[::-1], np.uint8)
    picture[4:9, 3:12] = value
    return Image.fromarray(picture)


def save(path: Path, picture: Image.Image, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)


@pytest.fixture
def wounds(tmp_path):
    """Return what writes photographs and masks by name, and what opens them."""

    def write(names=tuple(f"P{n // 2}_{n}" for n in range(12))) -> Path:
        for number, name in enumerate(names):
            save(tmp_path / "photos" / f"{name}.png", photograph(number))
            save(tmp_path / "masks" / f"{name}.png", mask())
        return tmp_path

    return write


def open_wounds(root: Path, **changes) -> FolderDataset:
    settings = {key: changes.pop(key) for key in ("num_validation", "num_labels", "seed", "manifest") if key in changes}
    return FolderDataset(root=root, source={**PLAIN, **changes}, **settings)


def issues_of(dataset: FolderDataset) -> str:
    with pytest.raises(InputError) as caught:
        dataset.check()
    return str(caught.value)


def stems(entries) -> list[str]:
    return [Path(entry["image"]).stem for entry in entries]


class TestSplits:
    def test_patients_stay_whole(self, wounds):
        dataset = open_wounds(wounds(), patient="^(P[0-9]+)_")
        for seed in range(10):
            splits = dataset.with_settings(seed=seed).all_entries()
            patients = [{entry["patient"] for entry in entries} for entries in splits.values()]
            assert sum(map(len, patients)) == len(set.union(*patients)) == 6
        assert dataset.group == "patient"

    def test_a_fourth_is_for_the_test_and_the_rest_for_training(self, wounds):
        counts = open_wounds(wounds(), num_validation=3).check()
        assert counts == {"training": 6, "validation": 3, "test": 3}

    def test_do_not_depend_on_where_the_dataset_lies_nor_on_file_formats(self, wounds, tmp_path):
        first = {split: stems(each) for split, each in open_wounds(wounds()).all_entries().items()}
        moved = tmp_path.with_name(f"{tmp_path.name} moved")
        tmp_path.rename(moved)
        for path in (moved / "photos").iterdir():
            Image.open(path).save(path.with_suffix(".bmp"))
            path.unlink()
        assert {split: stems(each) for split, each in open_wounds(moved).all_entries().items()} == first

    def test_strata_have_their_share_of_every_split(self, wounds):
        names = [f"{kind}/{number}" for kind, count in (("a", 8), ("b", 16)) for number in range(count)]
        root = wounds([name.replace("/", "/x") for name in names])
        dataset = open_wounds(root, stratum="folder", num_validation=6)
        for seed in range(5):
            splits = dataset.with_settings(seed=seed).all_entries()
            shares = [
                sum(Path(each["image"]).parent.name == "a" for each in part) / len(part) for part in splits.values()
            ]
            assert all(abs(share - 1 / 3) < 0.01 for share in shares)

    def test_that_are_stated_are_kept_and_the_others_drawn_from_training(self, wounds):
        names = [f"train/{n}" for n in range(8)] + [f"test/{n}" for n in range(8, 11)]
        dataset = open_wounds(wounds(names), split="folder", num_validation=2)
        assert dataset.check() == {"training": 6, "validation": 2, "test": 3}
        splits = dataset.all_entries()
        assert sorted(stems(splits["test"])) == ["10", "8", "9"]
        assert {Path(entry["image"]).parent.name for entry in splits["validation"]} == {"train"}

    def test_a_patient_in_two_stated_splits_is_an_issue(self, wounds):
        names = [f"train/P{n}_a" for n in range(5)] + ["test/P0_b", "test/P9_b"]
        dataset = open_wounds(wounds(names), split="folder", patient="(P[0-9]+)_")
        assert "source::split: 1 patient in several splits (P0; P0 is in training, test)" in issues_of(dataset)

    def test_two_images_are_too_few(self, wounds):
        message = issues_of(open_wounds(wounds(("a", "b")), num_validation=1))
        assert "too few complete images: 1 for the test, 1 for validation, 1 for training needed, found 2" in message
        assert "add images" in message


class TestReading:
    def test_gives_colours_and_class_ids(self, wounds):
        entry = open_wounds(wounds()).entries("training")[0]
        image, label = open_wounds(wounds()).load(entry)
        np.testing.assert_array_equal(image, np.asarray(Image.open(entry["image"])))
        assert image.shape == (16, 24, 3)
        assert label[4:9, 3:12].all()
        assert label.sum() == 45

    def test_gives_grey_where_a_network_takes_one_channel(self, wounds):
        dataset = open_wounds(wounds(), channels=1)
        image, _ = dataset.load(dataset.entries("training")[0])
        assert image.shape == (16, 24, 1)
        assert dataset.in_channels == 1

    def test_field_of_view_is_in_the_entries(self, wounds):
        root = wounds()
        for path in (root / "photos").iterdir():
            save(root / "fov" / path.name, Image.new("L", (24, 16), 255))
        dataset = open_wounds(root, field_of_view="fov")
        assert Path(dataset.entries("test")[0]["fov"]).parent.name == "fov"
        dataset.check()
        save(next((root / "fov").iterdir()), Image.new("L", (24, 16)))
        assert "every pixel is black; expected a field of view" in issues_of(dataset.with_settings())


class TestCheck:
    def test_says_that_unknown_patients_may_leak_and_what_a_column_is_called(self, wounds, tmp_path):
        dataset = open_wounds(wounds())
        notes = check_dataset(dataset, tmp_path / "out")["notes"]
        (note,) = [each for each in notes if "patients are not known" in each]
        assert "images of one patient may be in training and test" in note
        assert "source::patient" in note
        assert "names such as P0_0 suggest '^([^/_]+)_'" in note
        assert "a CSV with columns image, label and patient" in note
        known = open_wounds(tmp_path, patient="^(P[0-9]+)_")
        assert not [
            each for each in check_dataset(known, tmp_path / "out")["notes"] if "patients are not known" in each
        ]

    def test_names_labels_without_images(self, wounds):
        root = wounds()
        (root / "photos" / "P0_0.png").unlink()
        dataset = open_wounds(root)
        dataset.check()
        assert any("1 label without an image of that name (masks/P0_0.png): not used" in note for note in dataset.notes)
        assert not any("not read" in note for note in dataset.notes), "one remark is enough"

    def test_notes_grey_images_among_those_in_colour(self, wounds):
        root = wounds()
        save(root / "photos" / "P0_0.png", photograph(0, mode="L"))
        dataset = open_wounds(root)
        dataset.check()
        assert any("1 image of 12 grey (photos/P0_0.png) and the others in colour" in note for note in dataset.notes)
        grey = open_wounds(root, channels=1)
        grey.check()
        assert any("11 images of 12 in colour (photos/" in note for note in grey.notes)

    def test_notes_a_few_empty_labels_and_those_in_jpeg(self, wounds):
        root = wounds()
        save(root / "masks" / "P0_0.png", mask(value=0))
        save(root / "masks" / "P0_1.jpg", mask(), quality=98)
        (root / "masks" / "P0_1.png").unlink()
        dataset = open_wounds(root)
        dataset.check()
        assert any("1 label without any structure (photos/P0_0.png): see whether" in note for note in dataset.notes)
        assert any("1 label in JPEG (P0_1.jpg), which blurs edges" in note for note in dataset.notes)
        for number in range(3, 9):
            save(root / "masks" / f"P{number // 2}_{number}.png", mask(value=0))
        healthy = open_wounds(root)
        healthy.check()
        assert not any("without any structure" in note for note in healthy.notes)

    def test_notes_large_images_with_the_memory_that_they_take(self, wounds, monkeypatch):
        monkeypatch.setattr(contents, "LARGE", 1000)
        root = wounds()
        save(root / "photos" / "P0_0.png", photograph(0, (200, 100)))
        save(root / "masks" / "P0_0.png", mask((200, 100)))
        dataset = open_wounds(root)
        dataset.check()
        (note,) = [note for note in dataset.notes if "pixels" in note]
        assert "1 image of more than" in note
        assert "photos/P0_0.png" in note
        assert "save them smaller" in note

    def test_takes_no_large_photograph_for_an_attack(self, wounds, monkeypatch, recwarn):
        root = wounds()
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)  # of 24 x 16 pixels, Pillow warns
        assert sum(open_wounds(root).check().values()) == 12
        assert not [each for each in recwarn if issubclass(each.category, Image.DecompressionBombWarning)]
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        assert "has more than 200 pixels, the most that are read; save it smaller" in issues_of(open_wounds(root))

    def test_notes_a_class_that_no_label_has(self, wounds, tmp_path):
        dataset = open_wounds(wounds(), classes=["background", "wound", "scar"], label_format="ids")
        for path in (tmp_path / "masks").iterdir():
            save(path, mask(value=1))
        notes = check_dataset(dataset, tmp_path / "out")["notes"]
        assert "no label has scar: it cannot be learned; label it, or take it out of the classes" in notes

    def test_notes_labels_that_several_images_share(self, wounds, tmp_path):
        root = wounds(("a", "b", "c", "d"))
        save(root / "photos" / "b.png", photograph(0))  # a copy of a, whose label is the same for a reason
        for name, column in (("c", 13), ("d", 14)):
            picture = np.asarray(mask()).copy()
            picture[4, column] = 255
            save(root / "masks" / f"{name}.png", Image.fromarray(picture))
        assert not any("the same label" in each for each in check_dataset(open_wounds(root), tmp_path / "out")["notes"])
        save(root / "masks" / "d.png", Image.open(root / "masks" / "c.png"))
        notes = check_dataset(open_wounds(root), tmp_path / "out")["notes"]
        assert any("2 images with the same label as another one" in each and "photos/c.png" in each for each in notes)

    def test_notes_labels_that_may_be_inverted(self, wounds, tmp_path):
        root = wounds()
        save(root / "masks" / "P0_0.png", Image.eval(mask(), lambda value: 255 - value))
        notes = check_dataset(open_wounds(root), tmp_path / "out")["notes"]
        assert any("1 label with wound in all four corners" in each and "(photos/P0_0.png)" in each for each in notes)

    def test_remembers_what_it_has_noted(self, wounds, tmp_path):
        root = wounds()
        save(root / "photos" / "P0_0.png", photograph(0, mode="L"))
        manifest = tmp_path / "runs" / "dataset_manifest.json"
        first, again = (open_wounds(root, manifest=manifest) for _ in range(2))
        first.check()
        assert manifest.is_file()
        (root / "photos").chmod(0o755)
        again.check()
        assert again.notes == first.notes != []

    def test_is_said_by_every_check_and_by_the_first_stage_alone(self, wounds, tmp_path, caplog):
        caplog.set_level("INFO")
        root, manifest = wounds(), tmp_path / "runs" / "dataset_manifest.json"
        for times in (1, 0, 0):
            caplog.clear()
            open_wounds(root, manifest=manifest).entries("training", checked=True)
            assert sum("patient" in message for message in caplog.messages) == times
        for _ in range(2):
            caplog.clear()
            check_dataset(open_wounds(root, manifest=manifest), tmp_path / "out")
            assert sum("patient" in message for message in caplog.messages) == 1

    def test_leaves_alone_what_lies_beside_the_folders_of_the_source(self, wounds):
        root = wounds()
        save(root / "wounds_segmentation" / "docs" / "labels.png", photograph(0))
        save(root / "more" / "x.png", photograph(1))
        dataset = open_wounds(root)
        dataset.check()
        assert not any("not read" in note for note in dataset.notes)
        save(root / "photos" / "x.heic", photograph(1), format="PNG")
        dataset = open_wounds(root)
        dataset.check()
        assert any("not read" in note and "photos/x.heic" in note for note in dataset.notes)

    def test_counts_what_it_has_found(self, wounds, tmp_path, capsys):
        summary = check_dataset(open_wounds(wounds(), patient="^(P[0-9]+)_"), tmp_path / "out")
        assert summary["images"] == 12
        assert summary["groups"] == 6
        assert summary["settings"]["source"]["images"] == "photos"
        assert "images photos, classes background, wound, labels masks" in capsys.readouterr().out


class TestBadInput:
    def test_a_label_of_another_size(self, wounds):
        root = wounds()
        save(root / "masks" / "P0_0.png", mask((30, 16)))
        message = issues_of(open_wounds(root))
        assert "masks/P0_0.png: is 30 x 16, but its image photos/P0_0.png is 24 x 16 pixels" in message
        assert "1 issue" in message

    def test_an_image_that_viewers_turn(self, wounds):
        root = wounds()
        exif = Image.Exif()
        exif[0x0112] = 6
        photograph(0).save(root / "photos" / "P0_0.png", exif=exif)
        save(root / "masks" / "P0_0.png", mask((16, 24)))
        assert "the EXIF orientation of the image" in issues_of(open_wounds(root))

    def test_more_colours_than_classes(self, wounds):
        root = wounds()
        source = {"label_format": "colours", "colours": {"wound": [255, 0, 0]}}
        for number, path in enumerate(sorted((root / "masks").iterdir())):
            pixels = np.zeros((16, 24, 3), np.uint8)
            pixels[2:9, 2:9] = (255, 0, 0)
            pixels[12:, 12:] = (0, 255, 0) if number == 0 else 0
            save(path, Image.fromarray(pixels))
        message = issues_of(open_wounds(root, **source))
        assert "P0_0.png" in message
        assert "1 issue" in message

    def test_labels_that_are_all_empty(self, wounds):
        root = wounds()
        for path in (root / "masks").iterdir():
            save(path, Image.new("L", (24, 16)))
        assert "every label is empty; expected wound" in issues_of(open_wounds(root))

    def test_sixteen_bits_and_damaged_files(self, wounds):
        root = wounds()
        Image.fromarray(np.full((16, 24), 40_000, np.uint16)).save(root / "photos" / "P0_0.png")
        (root / "photos" / "P0_1.png").write_bytes(b"no image")
        (root / "masks" / "P1_2.png").write_bytes(b"")
        message = issues_of(open_wounds(root))
        assert "photos/P0_0.png: has more than 8 bits a channel" in message
        assert "P0_1.png: cannot be read as an image" in message
        assert "P1_2.png: the file is empty" in message
        (root / "masks" / "P1_2.png").write_bytes(b"no image")
        message = issues_of(open_wounds(root))
        assert "- masks/P1_2.png: cannot be read as an image; copy it again, or save it as .png\n" in message + "\n"
        assert "3 issues" in message

    def test_all_faults_are_told_at_once(self, wounds):
        root = wounds()
        (root / "masks" / "P0_0.png").unlink()
        save(root / "masks" / "P0_1.png", mask((3, 3)))
        message = issues_of(open_wounds(root))
        assert "photos/P0_0.png: no label, expected masks/P0_0.png" in message
        assert "masks/P0_1.png: is 3 x 3" in message

    def test_no_images(self, tmp_path):
        with pytest.raises(
            InputError,
            match=r"no photos in it; if .* moved, give --dataset_dir, the folder that holds photos and masks",
        ):
            open_wounds(tmp_path).check()
        (tmp_path / "photos").mkdir()
        assert "photos: no pictures in it" in issues_of(open_wounds(tmp_path))

    def test_no_folder(self, tmp_path):
        with pytest.raises(
            InputError, match="nowhere: no such folder; expected the folder that holds photos and masks"
        ):
            open_wounds(tmp_path / "nowhere").check()

    def test_volumes_are_read_by_another_class(self, tmp_path):
        with pytest.raises(
            InputError, match="source::kind: FolderDataset reads pictures, got volumes; let data::_targ"
        ):
            open_wounds(tmp_path, kind="volumes", channels=1)

    def test_names_with_spaces_accents_and_brackets_are_as_good_as_others(self, wounds, tmp_path):
        names = [f"Bild {number} [é] (1)" for number in range(6)]
        dataset = open_wounds(wounds(names), num_validation=1)
        dataset.check()
        assert check_dataset(dataset, tmp_path / "out")["images"] == 6
        (tmp_path / "masks" / f"{names[0]}.png").rename(tmp_path / "masks" / "other [é].png")
        (tmp_path / "photos" / f"{names[0]}.png").unlink()
        again = open_wounds(tmp_path, num_validation=1)
        again.check()
        assert any("masks/other [é].png" in note for note in again.notes)
        assert not any("not read" in note for note in again.notes)

    def test_a_read_only_dataset_is_checked(self, wounds, tmp_path):
        root = wounds()
        folders = [root / "photos", root / "masks"]
        for folder in folders:
            folder.chmod(0o555)
        try:
            assert check_dataset(open_wounds(root), tmp_path / "out")["images"] == 12
        finally:
            for folder in folders:
                folder.chmod(0o755)


def test_datalist_with_everything(wounds, tmp_path):
    root = wounds()
    with (root / "wounds.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "who", "fold", "kind"])
        for number, path in enumerate(sorted((root / "photos").iterdir())):
            fold = ("training", "training", "validation", "test")[number // 2 % 4]
            writer.writerow([f"photos/{path.name}", f"masks/{path.name}", path.name[:2], fold, "ab"[number % 2]])
    columns = {"patient": "who", "split": "fold", "stratum": "kind"}
    dataset = FolderDataset(
        root=root, source={**PLAIN, "images": "wounds.csv", "labels": None, **columns}, num_validation=1
    )
    assert dataset.check() == {"training": 8, "validation": 2, "test": 2}
    assert {entry["patient"] for entry in dataset.entries("test")} == {"P3"}


def test_phantoms_of_a_dataset_have_its_layout_and_classes(tmp_path):
    source = {**PLAIN, "classes": ["background", "a", "b"], "label_format": "ids", "values": {100: 1, 200: 2}}
    dataset = FolderDataset(root=tmp_path / "nowhere", source={**source, "patient": "^(P[0-9]+)_"})
    folder = dataset.write_own_phantoms(tmp_path / "phantoms", num_images=8, image_size=(24, 32))
    assert are_phantoms(folder)
    again = FolderDataset(root=folder, source=dataset.source)
    counts = again.check()
    assert sum(counts.values()) == 8
    assert not again.notes, "phantoms have no patients, whatever their names"
    assert set(np.unique(np.asarray(Image.open(folder / "masks" / "000.png")))) == {0, 100, 200}
