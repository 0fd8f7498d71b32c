"""Labels of a folder of one's own: several files for an image, sizes, volumes, and what a server saves."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from drawn_labels import COLOURS, IDS, ON_PIXELS, SIZE, in_colours, save, source, via_project, via_region, write_json
from integration import refused
from oriented import SHAPE, oblique_affine, turned
from oriented import save as save_volume
from PIL import ExifTags, Image

from common.datasets.readers.folder_labels import LoadFolderLabeld, explain_size, read_folder_label
from common.datasets.readers.slices import LoadSliced
from common.datasets.readers.volumes import LoadVolumed

BLACK_WHITE = source("black_white", ["background", "wound"])
PER_CLASS = source("file_per_class", class_files={"wound": "_wound", "scar": "_scar"})
WOUND, SCAR = IDS == 1, IDS == 2


def write_mask(path, inside) -> str:
    return save(path, inside * np.uint8(255))


def polygons(folder) -> dict[str, str]:
    regions = [via_region(corners, kind=name) for name, corners in ON_PIXELS.items()]
    save(folder / "a.png", 0 * IDS)
    return {
        "polygons": str(write_json(folder / "via.json", via_project({"a.png": regions}))),
        "image": str(folder / "a.png"),
    }


class TestSeveralFiles:
    def test_of_black_and_white_are_united(self, tmp_path):
        files = [write_mask(tmp_path / "a_mask.png", WOUND), write_mask(tmp_path / "a_mask_1.png", SCAR)]
        np.testing.assert_array_equal(read_folder_label(files, BLACK_WHITE), IDS > 0)
        np.testing.assert_array_equal(read_folder_label([files[0], files[0]], BLACK_WHITE), WOUND)

    def test_of_ids_are_united_unless_they_contradict_one_another(self, tmp_path):
        files = [save(tmp_path / "a.png", IDS * WOUND), save(tmp_path / "b.png", IDS * SCAR)]
        np.testing.assert_array_equal(read_folder_label(files, source("ids")), IDS)
        other = save(tmp_path / "c.png", 2 * WOUND.astype(np.uint8))
        with refused(r"a\.png and c\.png overlap in 24 pixels; a pixel has one class"):
            read_folder_label([*files, other], source("ids"))

    def test_of_one_class_each_become_ids(self, tmp_path):
        label = {
            "wound": write_mask(tmp_path / "w.png", WOUND),
            "scar": save(tmp_path / "s.png", SCAR.astype(np.uint8)),
        }
        np.testing.assert_array_equal(read_folder_label(label, PER_CLASS), IDS)
        np.testing.assert_array_equal(read_folder_label({"scar": label["scar"]}, PER_CLASS), IDS * SCAR)
        parts = [write_mask(tmp_path / "w1.png", WOUND & (np.arange(SIZE[0]) < 5)), label["wound"]]
        np.testing.assert_array_equal(read_folder_label({**label, "wound": parts}, PER_CLASS), IDS)

    def test_of_two_classes_that_overlap_are_refused(self, tmp_path):
        wide = SCAR.copy()
        wide[5, 3:7] = True
        label = {"wound": write_mask(tmp_path / "w.png", WOUND), "scar": write_mask(tmp_path / "s.png", wide)}
        with refused(r"w\.png and s\.png overlap in 4 pixels; a pixel has one class, correct one of the files"):
            read_folder_label(label, PER_CLASS)

    def test_of_background_must_not_overlap_with_a_class(self, tmp_path):
        own = source("file_per_class", class_files={"background": "_b", "wound": "_w", "scar": "_s"})
        label = {"background": write_mask(tmp_path / "b.png", ~WOUND), "wound": write_mask(tmp_path / "w.png", WOUND)}
        np.testing.assert_array_equal(read_folder_label(label, own), WOUND)
        with refused(r"b\.png and s\.png overlap in 20 pixels"):
            read_folder_label({**label, "scar": write_mask(tmp_path / "s.png", SCAR)}, own)

    def test_of_different_sizes_are_refused(self, tmp_path):
        files = [write_mask(tmp_path / "a.png", WOUND), write_mask(tmp_path / "b.png", SCAR[:-1])]
        with refused(r"b\.png: is 16 x 11 pixels, but .*a\.png is 16 x 12"):
            read_folder_label(files, BLACK_WHITE)


class TestSizes:
    def test_must_be_those_of_the_image(self, tmp_path):
        path = save(tmp_path / "a.png", IDS)
        np.testing.assert_array_equal(read_folder_label(path, source("ids"), SIZE), IDS)
        with refused(r"a\.png: is 16 x 12 pixels, but its image is 12 x 16$"):
            read_folder_label(path, source("ids"), SIZE[::-1])
        mask = write_mask(tmp_path / "m.png", WOUND)
        for label, own in (([mask, mask], BLACK_WHITE), ({"wound": mask}, PER_CLASS)):
            with refused("pixels, but its image is 3 x 4$"):
                read_folder_label(label, own, (3, 4))

    def test_that_exif_explains_are_explained(self, tmp_path):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "a.jpg", exif=exif)
        label = save(tmp_path / "a.png", IDS)
        assert "EXIF orientation of the image" in explain_size({"wound": label}, tmp_path / "a.jpg")
        assert explain_size(label, label) == ""


def labels_of(folder) -> dict:
    """Return the source and the label of each way of drawing the same ids."""
    mask = {"wound": write_mask(folder / "w.png", WOUND), "scar": write_mask(folder / "s.png", SCAR)}
    colours = source("colours", colours={name: list(colour) for name, colour in COLOURS.items()})
    return {
        "ids": (source("ids"), save(folder / "ids.png", IDS)),
        "values": (source("ids", values={90: 1, 180: 2}), save(folder / "values.png", 90 * IDS)),
        "colours": (colours, save(folder / "colours.png", in_colours(IDS))),
        "file_per_class": (PER_CLASS, mask),
        "polygons": (source("polygons"), polygons(folder)),
    }


class TestTransform:
    @pytest.mark.parametrize("form", ["ids", "values", "colours", "file_per_class", "polygons"])
    def test_every_way_of_drawing_gives_the_same_tensor_x_first(self, tmp_path, form):
        own, label = labels_of(tmp_path)[form]
        for more in ({}, {"image": torch.zeros(3, *SIZE)}):
            loaded = LoadFolderLabeld(source=own.to_config())({"label": label, **more})["label"]
            assert loaded.dtype == torch.float32
            np.testing.assert_array_equal(loaded.numpy(), IDS.T[None])

    @pytest.mark.parametrize("form", ["ids", "values", "colours", "file_per_class", "polygons"])
    @pytest.mark.parametrize("name", ["server.png", "server.nii.gz"])
    def test_what_a_server_saves_is_class_ids_however_the_folder_is_drawn(self, tmp_path, form, name):
        own, _ = labels_of(tmp_path)[form]
        path = tmp_path / name
        if path.suffix == ".png":
            save(path, IDS)
        else:
            nibabel.save(nibabel.Nifti1Image(IDS.T[..., None], np.eye(4)), path)
        loaded = LoadFolderLabeld(source=own)({"label": str(path), "image": torch.zeros(3, *SIZE)})["label"]
        np.testing.assert_array_equal(loaded.numpy(), IDS.T[None])

    def test_a_label_of_another_size_than_its_image_is_refused(self, tmp_path):
        for form in ("ids", "colours", "file_per_class"):
            own, label = labels_of(tmp_path)[form]
            with refused("is 16 x 12 pixels, but its image is 12 x 16"):
                LoadFolderLabeld(source=own)({"label": label, "image": torch.zeros(3, 12, 16)})


class TestVolumes:
    def label(self, folder, own, ids):
        def write(name, values):
            return str(save_volume(turned(values.astype(np.uint8), oblique_affine(), "RIA"), folder / name))

        if own.label_format == "file_per_class":
            return {each: write(f"{each}.nii", (ids == own.id_of(each)) * 255) for each in own.classes[1:]}
        return write("label.nii", ids * 255 if own.label_format == "black_white" else 50 * ids if own.values else ids)

    @pytest.mark.parametrize("form", ["ids", "values", "black_white", "file_per_class"])
    def test_are_turned_onto_their_images_whole_and_by_slices(self, tmp_path, form):
        volumes = {"kind": "volumes", "channels": 1}
        own = {
            "ids": source("ids", **volumes),
            "values": source("ids", values={50: 1, 100: 2}, **volumes),
            "black_white": source("black_white", ["background", "liver"], **volumes),
            "file_per_class": source("file_per_class", class_files={"wound": "_w", "scar": "_s"}, **volumes),
        }[form]
        ids = np.random.default_rng(0).integers(0, len(own.classes), SHAPE)
        grey = turned(np.zeros(SHAPE, np.float32), oblique_affine(), "LPS")
        image = str(save_volume(grey, tmp_path / "image.nii"))
        label = self.label(tmp_path, own, ids)
        read = LoadFolderLabeld(source=own)
        whole = read(LoadVolumed("image")({"image": image, "label": label}))["label"]
        np.testing.assert_array_equal(whole[0].numpy(), ids)
        third = read(LoadSliced("image")({"image": image, "label": label, "slice": 3}))["label"]
        np.testing.assert_array_equal(third[0].numpy(), ids[..., 3])

    def test_with_other_values_are_refused(self, tmp_path):
        own = source("ids", kind="volumes", channels=1)
        label = self.label(tmp_path, own, np.full(SHAPE, 7))
        with refused(r"label\.nii: has \d+ pixels of the value 7, which is no class; expected class ids from 0 to 2"):
            LoadFolderLabeld(source=own)({"label": label})
