"""A folder of images and labels becomes a bundle: what is found is what was meant, and what is not clear is asked."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from integration import refused
from monai.bundle import ConfigParser
from PIL import Image, ImageFilter

from common.creation.create import create_bundle
from common.creation.labels import choose_labels
from common.creation.options import Options
from common.creation.telling import describe_splits
from common.datasets import DATASETS
from common.datasets.folder import FolderDataset
from common.datasets.readers.label_survey import LabelSurvey
from common.datasets.source import Source
from common.templates import read_facts, render_bundle

TWO, THREE = ["background", "wound"], ["background", "wound", "skin"]
FOLDERS = {"images": "photos", "labels": "masks"}
COLOURS = {"background": [0, 0, 0], "wound": [200, 30, 30], "skin": [30, 200, 30]}

# What create finds out by itself.
FOUND = {
    "black_white": {**FOLDERS, "classes": TWO, "label_format": "black_white"},
    "grey": {**FOLDERS, "classes": TWO, "label_format": "black_white", "channels": 1},
    "ids": {**FOLDERS, "classes": THREE, "label_format": "ids"},
    "suffix": {**FOLDERS, "classes": TWO, "label_format": "black_white", "label_suffix": "_mask"},
    "one folder": {"images": ".", "classes": TWO, "label_format": "black_white", "label_suffix": "_mask"},
    "nnU-Net": {
        "images": "imagesTr",
        "labels": "labelsTr",
        "classes": THREE,
        "label_format": "ids",
        "image_suffix": "_0000",
    },
    "file per class": {
        **FOLDERS,
        "classes": THREE,
        "label_format": "file_per_class",
        "class_files": {"wound": "_wound", "skin": "_skin"},
    },
    "folder per class": {
        **FOLDERS,
        "classes": THREE,
        "label_format": "file_per_class",
        "class_files": {"wound": "wound/", "skin": "skin/"},
    },
    "polygons": {**FOLDERS, "classes": THREE, "label_format": "polygons"},
    "polygons of another name": {
        **FOLDERS,
        "classes": TWO,
        "label_format": "polygons",
        "polygons": {"wound": "Ulcer"},
    },
    "volumes": {**FOLDERS, "classes": THREE, "label_format": "ids", "kind": "volumes", "channels": 1},
    "datalist": {"images": "wounds.csv", "classes": TWO, "label_format": "black_white"},
}
# What it is told.
TOLD = {
    "colours": (
        {**FOLDERS, "classes": THREE, "label_format": "colours", "colours": COLOURS},
        {"colours": "background=#000000,wound=200 30 30,skin=#1ec81e"},
    ),
    "strata": ({**FOLDERS, "classes": TWO, "label_format": "black_white", "stratum": "folder"}, {"stratum": "folder"}),
    "splits": (
        {**FOLDERS, "classes": TWO, "label_format": "black_white", "split": "folder"},
        {"split": "folder"},
    ),
    "columns": (
        {
            "images": "wounds.json",
            "classes": TWO,
            "label_format": "black_white",
            "patient": "patient",
            "split": "split",
        },
        {"patient": "patient", "split": "split"},
    ),
}


def write(folder: Path, source: dict, **options) -> Path:
    """Write phantoms in the layout of a source."""
    return FolderDataset.write_phantoms(folder, source=source, **{"num_images": 6, "image_size": (60, 72), **options})


def create(data: Path, source: dict, output_dir: Path, name: str = "wounds", **options) -> Path:
    """Create a bundle for what lies where the source says, told nothing but that."""
    labels = {"labels": data / source["labels"]} if source.get("labels") else {}
    return create_bundle(
        name, output_dir, images=data / source["images"], classes=",".join(source["classes"]), **labels, **options
    )


def source_of(bundle: Path, data: Path) -> Source:
    """Return the source of a bundle whose files are in a folder."""
    config = yaml.safe_load((bundle / "configs" / "train.yaml").read_text(encoding="ascii"))
    assert config["dataset_dir"] == str(data)
    return Source.from_config(config["source"])


@pytest.fixture
def wounds(tmp_path) -> Path:
    return write(tmp_path / "data", FOUND["black_white"])


class TestWhatIsFound:
    @pytest.mark.parametrize("layout", FOUND)
    def test_it_is_what_was_written(self, layout, tmp_path):
        data = write(tmp_path / "data", FOUND[layout])
        bundle = create(data, FOUND[layout], tmp_path)
        assert source_of(bundle, data) == Source.from_config(FOUND[layout])

    @pytest.mark.parametrize("layout", TOLD)
    def test_it_is_what_was_told(self, layout, tmp_path):
        source, options = TOLD[layout]
        data = write(tmp_path / "data", source)
        bundle = create(data, source, tmp_path, **options)
        assert source_of(bundle, data) == Source.from_config(source)

    def test_pictures_with_equal_channels_are_read_as_grey(self, tmp_path):
        data = write(tmp_path / "data", FOUND["grey"])
        for path in (data / "photos").iterdir():
            Image.open(path).convert("RGB").save(path)
        assert source_of(create(data, FOUND["grey"], tmp_path), data).channels == 1

    def test_black_and_white_labels_may_be_jpeg_and_class_ids_may_not(self, tmp_path, capsys):
        for layout in ("black_white", "ids"):
            data = write(tmp_path / layout, FOUND[layout])
            for path in (data / "masks").iterdir():
                Image.open(path).convert("L").save(path.with_suffix(".jpg"), quality=98)
                path.unlink()
        create(tmp_path / "black_white", FOUND["black_white"], tmp_path)
        assert "blurs" in capsys.readouterr().out
        with refused("--labels: .*stored (with loss|as JPEG), which alters class ids"):
            create(tmp_path / "ids", FOUND["ids"], tmp_path, name="others")

    @pytest.mark.parametrize(("number", "said"), [(6, "all 6"), (2, "2 of 6")])
    def test_labels_that_are_stored_with_loss_are_counted(self, number, said):
        survey = LabelSurvey(num_read=6, lossy=["/data/a.jpg"] * number, is_black_white=True)
        why = choose_labels(Options(name="wounds", images=Path(), classes=tuple(TWO)), survey).why
        assert why == f"white is wound; {said} looked at are stored with loss, as JPEG is, which blurs edges"

    def test_outlines_of_labelme_among_the_images(self, tmp_path):
        data = write(tmp_path / "data", FOUND["polygons"])
        for number, path in enumerate(sorted((data / "photos").iterdir())):
            shape = {"label": "wound", "points": [[5, 5], [30, 5], [30, 20 + number]], "shape_type": "polygon"}
            outlines = {"shapes": [shape], "imagePath": path.name, "imageData": None}
            path.with_suffix(".json").write_text(json.dumps(outlines))
        for labels in ({}, {"labels": data / "photos"}):
            options = {"images": data / "photos", "classes": "background,wound", "overwrite": True}
            source = source_of(create_bundle("wounds", tmp_path, **options, **labels), data / "photos")
            assert (source.images, source.labels, source.label_format) == (".", ".", "polygons")

    def test_a_column_of_patients_keeps_them_whole(self, tmp_path):
        data, options = TOLD["columns"]
        root = write(tmp_path / "data", data)
        bundle = create(root, data, tmp_path, split=options["split"])
        assert source_of(bundle, root).patient == "patient"

    def test_few_patients_are_doubted_by_the_option_that_named_them(self, tmp_path, capsys):
        data = write(tmp_path / "data", FOUND["black_white"])
        (data / "PHANTOMS").unlink()  # of which nobody asks who they are
        for path in sorted(data.glob("*/*.png")):
            path.rename(path.with_stem(f"P{int(path.stem) // 2}_{path.stem}"))
        create(data, FOUND["black_white"], tmp_path, patient="^(P[0-9]+)_")
        said = " ".join(capsys.readouterr().out.split())
        assert "--patient '^(P[0-9]+)_' makes 3 patients" in said
        row = describe_splits({}, Source(images="photos", classes=("background", "wound"), patient="(P1)"))
        assert row.why == "drawn by seed, whole patients, about a quarter for the test"

    def test_two_windows_are_for_two_kinds_of_volumes(self, tmp_path):
        data = write(tmp_path / "data", FOUND["volumes"])
        bundle = create(data, FOUND["volumes"], tmp_path)
        assert yaml.safe_load((bundle / "configs" / "train.yaml").read_text())["percentiles"] == [1, 99]
        for path in (data / "photos").iterdir():
            volume = nibabel.load(path)
            values = np.asarray(volume.dataobj, np.float32)
            values = np.where(values > np.median(values), 60, -1000)
            nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), volume.affine), path)
        bundle = create(data, FOUND["volumes"], tmp_path, overwrite=True)
        low, high = yaml.safe_load((bundle / "configs" / "train.yaml").read_text())["window"]
        assert low <= -140
        assert 200 <= high <= 300


class TestQuestions:
    """A question is one line that says what to give; nothing is written."""

    @pytest.fixture(autouse=True)
    def _nothing_is_written(self, tmp_path):
        yield
        assert not (tmp_path / "wounds_segmentation").exists()

    def test_which_colour_is_which_class(self, tmp_path):
        source = TOLD["colours"][0]
        data = write(tmp_path / "data", source)
        with refused(
            r"--labels: which colour is which class\? Labels have #000000 \([\d.]+ %\), ",
            "give --colours background=#000000,wound=#......,skin=#......, as far as that is right",
        ):
            create(data, source, tmp_path)

    def test_more_colours_than_classes(self, tmp_path):
        source = TOLD["colours"][0]
        data = write(tmp_path / "data", source)
        with refused("--labels: labels have 3 colours .*, --classes names 2: name a class for each"):
            create(data, {**source, "classes": TWO}, tmp_path)

    def test_more_grey_values_than_classes(self, tmp_path):
        data = write(tmp_path / "data", FOUND["ids"])
        with refused("--labels: labels have 3 grey values .*, --classes names 2: name as many, or say"):
            create(data, {**FOUND["ids"], "classes": TWO}, tmp_path)

    def test_grey_values_that_are_no_ids(self, tmp_path):
        source = {**FOUND["ids"], "values": {0: 0, 63: 1, 126: 2}}
        data = write(tmp_path / "data", source)
        with refused(r"which grey value is which class\? .* give --values 0=0,63=1,126=2, as far as that is right"):
            create(data, source, tmp_path)

    def test_blurred_labels(self, wounds, tmp_path):
        for path in (wounds / "masks").iterdir():
            Image.open(path).convert("L").filter(ImageFilter.GaussianBlur(9)).save(path)
        with refused(r"^--labels: labels have \d+ grey values .{,120}, too many for classes.*smoothing$"):
            create(wounds, FOUND["black_white"], tmp_path)

    def test_values_that_are_not_whole(self, tmp_path):
        data = write(tmp_path / "data", FOUND["volumes"])
        for path in (data / "masks").iterdir():
            volume = nibabel.load(path)
            values = np.asarray(volume.dataobj, np.float32) * 0.7
            nibabel.save(nibabel.Nifti1Image(values, volume.affine), path)
        with refused("--labels: labels have values that are no whole numbers; expected class ids"):
            create(data, FOUND["volumes"], tmp_path)

    @pytest.mark.parametrize(
        ("palettes", "message"),
        [
            (([0, 0, 0, 255, 0, 0], [0, 0, 0, 0, 255, 0]), "some files show the value 1 as #ff0000, others as #00ff00"),
            (([255] * 3 + [0] * 3,) * 2, "shows the value 0 as white and 1 as black: which is wound"),
        ],
    )
    def test_palettes_that_contradict_the_values(self, palettes, message, wounds, tmp_path):
        for number, path in enumerate(sorted((wounds / "masks").iterdir())):
            inside = np.asarray(Image.open(path).convert("L")) > 0
            label = Image.fromarray(inside.astype(np.uint8)).convert("P")
            label.putpalette(palettes[number % 2])
            label.save(path)
        classes = THREE if "some files" in message else TWO
        with refused(f"--labels: .*{message}", "--colours background=#", "--label_format ids"):
            create(wounds, {**FOUND["black_white"], "classes": classes}, tmp_path)

    def test_a_suffix_that_no_label_has(self, tmp_path):
        data = write(tmp_path / "data", FOUND["one folder"])
        with refused("--images: .* has no labels, no file is called as an image with _seg"):
            create(data, FOUND["one folder"], tmp_path, label_suffix="_seg")

    def test_splits_that_a_datalist_has(self, tmp_path):
        source = TOLD["columns"][0]
        data = write(tmp_path / "data", source)
        with refused("--split is missing: .*wounds.json has images for test, training.*: give --split split to keep"):
            create(data, source, tmp_path)

    @pytest.mark.parametrize("labels", [{"0": "background", "1": "skin", "2": "wound"}, {"skin": 1, "wound": 2}])
    def test_classes_that_a_datalist_has_in_another_order(self, labels, tmp_path):
        data = write(tmp_path / "data", FOUND["ids"])
        rows = [{"image": f"photos/{path.name}", "label": f"masks/{path.name}"} for path in (data / "photos").iterdir()]
        (data / "dataset.json").write_text(json.dumps({"labels": labels, "training": rows}))
        with refused("--classes: skin is the class 2 in background,wound,skin, but 1 in .*dataset.json: name the"):
            create(data, {"images": "dataset.json", "classes": THREE}, tmp_path)

    def test_black_and_white_for_three_classes(self, wounds, tmp_path):
        with refused("labels are black and white, --classes names 3: give --class_files"):
            create(wounds, {**FOUND["black_white"], "classes": THREE}, tmp_path)

    def test_grey_images_among_colour_ones(self, wounds, tmp_path):
        path = sorted((wounds / "photos").iterdir())[2]
        Image.open(path).convert("L").save(path)
        with refused(
            r"--channels is missing: of 6 .* 1 are grey and 5 have colours \(grey: 002\.png\): give --channels 3"
        ):
            create(wounds, FOUND["black_white"], tmp_path)

    def test_folders_that_are_called_like_splits(self, tmp_path):
        source = TOLD["splits"][0]
        data = write(tmp_path / "data", source)
        with refused("--split is missing: .* has folders called test, training, validation: give --split folder"):
            create(data, source, tmp_path)

    def test_polygons_of_other_names(self, tmp_path):
        data = write(tmp_path / "data", FOUND["polygons"])
        with refused(r"polygons are called .*; which is which class\? Give --polygons wound=wound,bone=\.\.\."):
            create(data, {**FOUND["polygons"], "classes": ["background", "wound", "bone"]}, tmp_path)

    def test_pictures_and_volumes_in_one_folder(self, wounds, tmp_path):
        volumes = write(tmp_path / "volumes", FOUND["volumes"])
        shutil.copy(volumes / "photos" / "000.nii.gz", wounds / "photos")
        with refused("--images: .* has 6 pictures and 1 volume: which are the images"):
            create(wounds, FOUND["black_white"], tmp_path)


class TestBadInput:
    def test_no_images(self, wounds, tmp_path):
        shutil.rmtree(wounds / "photos")
        (wounds / "photos").mkdir()
        with refused("--images: .*photos: no pictures in it; expected pictures"):
            create(wounds, FOUND["black_white"], tmp_path)

    def test_no_labels(self, wounds, tmp_path):
        shutil.rmtree(wounds / "masks")
        (wounds / "masks").mkdir()
        with refused("--labels: .*masks: no labels in it; expected one picture for each image, or polygons"):
            create(wounds, FOUND["black_white"], tmp_path)

    def test_labels_with_other_numbers_than_their_images(self, wounds, tmp_path):
        for path in (*(wounds / "photos").iterdir(), *(wounds / "masks").iterdir()):
            number = int(path.stem)
            path.rename(path.with_stem(f"img{number}" if path.parent.name == "photos" else f"img{number:03d}"))
        with refused("photos/img0.png: no label has its name.* the first label is masks/img000.* rename them"):
            create(wounds, FOUND["black_white"], tmp_path)

    def test_labels_without_images_and_the_reverse(self, wounds, tmp_path):
        labels = sorted((wounds / "masks").iterdir())
        labels[0].rename(labels[0].with_stem("other"))
        with refused("photos/000.png: no label, expected masks/000"):
            create(wounds, FOUND["black_white"], tmp_path)

    @pytest.mark.parametrize("layout", ["black_white", "ids", "volumes"])
    def test_images_and_labels_that_are_swapped(self, layout, tmp_path):
        data = write(tmp_path / "data", FOUND[layout])
        swapped = {**FOUND[layout], "images": "masks", "labels": "photos"}
        with refused(r"values or colours, and images like masks: are --images and --labels swapped\?$"):
            create(data, swapped, tmp_path)

    def test_columns_of_a_list_that_are_swapped(self, tmp_path):
        data = write(tmp_path / "data", FOUND["datalist"])
        head, *rows = (data / "wounds.csv").read_text(encoding="utf-8").splitlines()
        assert head == "image,label"
        (data / "wounds.csv").write_text("\n".join(["label,image", *rows]), encoding="utf-8")
        with refused(r"are image and label swapped in the list\?$"):
            create(data, FOUND["datalist"], tmp_path)

    def test_colours_that_are_not_named_are_counted_in_full(self):
        some = {(number, 0, 0): 0.01 for number in range(32)}
        survey = LabelSurvey(num_read=1, colours=some, num_colours=1000, is_grey=False)
        with refused(r"labels have 1000 colours \(.* and 992 more\)"):
            choose_labels(Options(name="wounds", images=Path(), classes=tuple(TWO)), survey)

    def test_what_is_said_of_a_source_names_the_option(self, wounds, tmp_path):
        with refused(r"^--patient: 'P1' is no regular expression with a group"):
            create(wounds, FOUND["black_white"], tmp_path, patient="P1")

    def test_two_images(self, wounds, tmp_path):
        for path in [*sorted((wounds / "photos").iterdir())[2:], *sorted((wounds / "masks").iterdir())[2:]]:
            path.unlink()
        with refused("1 for the test, 1 for validation, 1 for training needed, found 2 images"):
            create(wounds, FOUND["black_white"], tmp_path)

    def test_a_class_that_no_label_has_is_said(self, tmp_path, capsys):
        data = write(tmp_path / "data", FOUND["ids"])
        create(data, {**FOUND["ids"], "classes": [*THREE, "bone"]}, tmp_path)
        assert re.search(r"class bone +not found +no label of 6 looked at has it", capsys.readouterr().out)

    def test_a_bundle_that_is_there_is_not_written_over(self, wounds, tmp_path):
        (tmp_path / "wounds_segmentation").mkdir()
        with refused("output_dir: .*wounds_segmentation exists; choose another folder, or --overwrite"):
            create(wounds, FOUND["black_white"], tmp_path)
        assert list((tmp_path / "wounds_segmentation").iterdir()) == []

    def test_options_that_need_images(self, tmp_path):
        with refused("--images is missing: --labels is about images of your own"):
            create_bundle("drive", tmp_path, labels=tmp_path)

    def test_a_name_without_images(self, tmp_path):
        with refused(
            "^--images is missing: give the folder of the images that wounds is for; without it, name a dataset"
        ):
            create_bundle("wounds", tmp_path)
        with refused("^facts: there is no page wounds.yaml"):
            create_bundle("wounds.yaml", tmp_path)

    def test_a_folder_that_can_only_be_read(self, wounds, tmp_path):
        for path in (wounds, wounds / "photos", wounds / "masks"):
            path.chmod(stat.S_IRUSR | stat.S_IXUSR)
        before = {path: path.stat().st_mtime_ns for path in wounds.rglob("*")}
        create(wounds, FOUND["black_white"], tmp_path / "bundles")
        assert {path: path.stat().st_mtime_ns for path in wounds.rglob("*")} == before
        for path in (wounds, wounds / "photos", wounds / "masks"):
            path.chmod(stat.S_IRWXU)


class TestTheBundle:
    def test_names_with_spaces_and_letters_of_any_language(self, tmp_path):
        source = {"images": "Fotos \u00fc #1", "labels": "M\u00e4sken", "classes": ["Hintergrund", "Wunde gro\u00df"]}
        source["label_format"] = "black_white"
        data = write(tmp_path / "Daten \u00f1", source)
        bundle = create(data, source, tmp_path, title="Wunden \u00fcberall")
        config = ConfigParser(ConfigParser.load_config_file(str(bundle / "configs" / "train.yaml")))
        assert config.get_parsed_content("dataset_dir") == str(data)
        assert Source.from_config(config.get_parsed_content("source")) == Source.from_config(source)
        dataset = config.get_parsed_content("data")
        assert len(dataset.entries("training")) == 3
        assert all((bundle / "configs" / name).read_bytes().isascii() for name in os.listdir(bundle / "configs"))
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="ascii"))
        assert metadata["name"] == "Wunden \u00fcberall"
        assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"]["1"] == "Wunde gro\u00df"

    def test_nobody_else_is_named(self, wounds, tmp_path):
        bundle = create(wounds, FOUND["black_white"], tmp_path)
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="ascii"))
        for key in ("authors", "copyright", "data_source"):
            assert metadata[key] == "not stated: fill in"
        assert len(metadata["references"]) == 2  # of the method, not of data
        for path in bundle.rglob("*.*"):
            if path.suffix in (".yaml", ".json", ".md", ".txt"):
                words = path.read_text(encoding="utf-8").lower()
                assert not [
                    name for name in DATASETS.keys() - {"folder"} if f"{name}_" in words or f"/{name}" in words
                ], path
                assert "the authors of this project" not in words

    def test_it_says_the_commands_of_its_user(self, wounds, tmp_path, capsys):
        bundle = create(wounds, FOUND["black_white"], tmp_path)
        commands = [
            "task-distill check {}wounds_segmentation",
            "task-distill pipeline {}wounds_segmentation --output_dir runs/wounds",
            "task-distill predict new_photos/ --weights runs/wounds/model.pt --output_dir new_masks/",
        ]
        page, said = (bundle / "docs" / "README.md").read_text(encoding="utf-8"), capsys.readouterr().out
        for command in commands:
            assert command.format("") in page
            assert command.format(f"{tmp_path}/") in said
        assert "_segmentation --output_dir runs/wounds_demo --overlay demo  # a trial, in minutes\n" in said

    def test_its_commands_name_a_folder_with_spaces_so_that_a_shell_takes_it(self, wounds, tmp_path, capsys):
        bundle = create(wounds, FOUND["black_white"], tmp_path / "my bundles")
        said = capsys.readouterr().out
        assert f"Then, in {os.getcwd()}:\n" in said
        lines = [line for line in said.splitlines() if line.startswith("  task-distill ")]
        assert [shlex.split(line)[2] for line in lines[:2]] == [str(bundle)] * 2

    def test_strata_are_counted_or_folders_that_may_be_some_are_named(self, tmp_path, capsys):
        data = write(tmp_path / "data", TOLD["strata"][0])
        tops = sorted(path.name for path in (data / "photos").iterdir())
        create(data, TOLD["strata"][0], tmp_path, stratum="folder")
        rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("strata")]
        assert all(f"{top} " in rows[0] for top in tops)
        create(data, TOLD["strata"][0], tmp_path, overwrite=True)
        said = " ".join(capsys.readouterr().out.split())
        assert re.search(r"strata none every split could .* --stratum folder", said)

    def test_it_can_be_rendered_again_from_its_own_page(self, wounds, tmp_path):
        bundle = create(wounds, FOUND["black_white"], tmp_path)
        page = bundle / "docs" / "facts.yaml"
        assert render_bundle(read_facts(page)) == {
            name: (bundle / name).read_text(encoding="utf-8") for name in render_bundle(read_facts(page))
        }
        page.write_text(page.read_text(encoding="utf-8").replace("not stated: fill in", "Dr. Muster"), encoding="utf-8")
        create_bundle(page, tmp_path, overwrite=True)
        assert json.loads((bundle / "configs" / "metadata.json").read_text())["authors"] == "Dr. Muster"

    def test_its_picture_shows_labels(self, wounds, tmp_path):
        with Image.open(create(wounds, FOUND["black_white"], tmp_path) / "docs" / "labels.png") as picture:
            assert json.loads(picture.info["places"]).keys() == {"000.png", "001.png", "003.png", "004.png"}

    def test_what_is_allowed_decides_how_images_are_moved(self, wounds, tmp_path):
        def moves(**options) -> str:
            bundle = create(wounds, FOUND["black_white"], tmp_path, overwrite=True, **options)
            return (bundle / "configs" / "train.yaml").read_text().split("random_transforms:")[1].split("preproc")[0]

        assert "RandFlipd" not in moves()
        assert "RandRotate90d" not in moves()
        assert "RandFlipd" in moves(left_right="same")
        assert "RandRotate90d" not in moves(left_right="same")
        assert "RandFlipd" not in moves(upside_down="same")
        assert "RandRotate90d" in moves(upside_down="same")

    def test_its_teacher_is_lite_medsam_or_as_told(self, wounds, tmp_path, capsys):
        given = {None: ("lite_medsam", 8), "embedded": ("embedded", 64), "facebook/sam-vit-base": (..., 8)}
        for pretrained, (expected, rank) in given.items():
            bundle = create(wounds, FOUND["black_white"], tmp_path, overwrite=True, pretrained=pretrained)
            expected = pretrained if expected is ... else expected
            for name in ("finetune_teacher", "distill", "cpu"):
                config = yaml.safe_load((bundle / "configs" / f"{name}.yaml").read_text(encoding="ascii"))
                assert config["pretrained"] == expected
            config = yaml.safe_load((bundle / "configs" / "finetune_teacher.yaml").read_text(encoding="ascii"))
            assert config["lora_rank"] == rank
            other = "lite_medsam" if pretrained == "embedded" else "facebook/sam-vit-base"
            assert other in capsys.readouterr().out  # how to choose it, or chosen

    def test_configs_suit_its_teacher_and_the_stand_in(self, wounds, tmp_path):
        bundle = create(wounds, FOUND["black_white"], tmp_path, pretrained="facebook/dinov2-small")
        configs = bundle / "configs"

        def scale_and_size(*overlays: str, **overrides) -> tuple[float, int]:
            files = [str(configs / f"{name}.yaml") for name in ("finetune_teacher", *overlays)]
            parser = ConfigParser({**ConfigParser.load_config_files(files), **overrides})
            return parser.get_parsed_content("input_scale"), parser.get_parsed_content("image_size")

        assert scale_and_size() == (1.75, 128)
        assert scale_and_size(pretrained="lite_medsam") == (2, 128)
        assert scale_and_size("cpu") == (1.75, 128)
        assert scale_and_size("cpu", pretrained="embedded") == (2, 128)
        assert scale_and_size("demo") == (4, 64)

    @pytest.mark.parametrize(
        ("chosen", "own"), [(None, None), ("facebook/sam-vit-base", None), ("medsam_vit_b.pth", "none")]
    )
    def test_pixels_are_scaled_as_the_weights_tell_unless_they_do_not(self, chosen, own, wounds, tmp_path):
        configs = create(wounds, FOUND["black_white"], tmp_path, pretrained=chosen) / "configs"
        for name, overlay in (("finetune_teacher", "cpu"), ("distill", "cpu"), ("finetune_teacher", "demo")):
            config = ConfigParser.load_config_files([str(configs / f"{name}.yaml"), str(configs / f"{overlay}.yaml")])
            for teacher, expected in (("embedded", None), (chosen or "lite_medsam", own)):
                parser = ConfigParser({**config, "pretrained": teacher})
                assert parser.get_parsed_content("pixel_normalisation") == expected
        stage = yaml.safe_load((configs / "finetune_teacher.yaml").read_text(encoding="ascii"))
        assert stage["pixel_normalisation"] == own

    def test_its_teacher_may_be_named(self, wounds, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("lite_medsam").mkdir()  # which is not meant
        bundle = create(wounds, FOUND["black_white"], tmp_path / "out", pretrained="lite_medsam")
        config = yaml.safe_load((bundle / "configs" / "finetune_teacher.yaml").read_text())
        assert config["pretrained"] == "lite_medsam"
        assert "distilled from LiteMedSAM" in (bundle / "docs" / "README.md").read_text()
