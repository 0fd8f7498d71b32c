"""Labels of CHAOS: what grey values mean, and where labels lie."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from monai.data import PydicomReader
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    Orientationd,
    SaveImaged,
    ScaleIntensityRanged,
    ScaleIntensityRangePercentilesd,
    Transposed,
)
from PIL import Image

from common.datasets.chaos import ChaosDataset
from common.datasets.readers.chaos import CLASSES, GroundReader, LoadGroundd
from common.datasets.readers.series import SeriesReader
from common.datasets.readers.volumes import LoadVolumed
from common.errors import InputError

MODALITIES = ("ct", "t1_in", "t1_out", "t2")
SEQUENCE = {"ct": "CT/1", "t1_in": "MR/1/T1DUAL", "t1_out": "MR/1/T1DUAL", "t2": "MR/1/T2SPIR"}
IMAGES = {"ct": "DICOM_anon", "t1_in": "DICOM_anon/InPhase", "t1_out": "DICOM_anon/OutPhase", "t2": "DICOM_anon"}
BRIGHTNESS = {
    "ct": {1: 115},
    "t1_in": {1: 520, 2: 340, 3: 340, 4: 290},
    "t1_out": {1: 470, 2: 330, 3: 330, 4: 280},
    "t2": {1: 210, 2: 640, 3: 640, 4: 460},
}


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("chaos")


@pytest.fixture
def phantoms(pristine, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(pristine / "Train_Sets", tmp_path / "CHAOS" / "Train_Sets")).parent


def entries_of(folder, split, modality, **settings):
    return ChaosDataset(root=folder, modality=modality, **settings).entries(split)


def volumes_of(folder, split, modality, **settings):
    return ChaosDataset(root=folder, modality=modality, **settings).volumes(split)


def sequence_of(folder, modality):
    return folder / "Train_Sets" / SEQUENCE[modality]


def files_of(folder, modality, what="Ground"):
    return sorted((sequence_of(folder, modality) / (IMAGES[modality] if what == "images" else what)).iterdir())


def read_array(path):
    return np.asarray(Image.open(path))


def load(entry, modality):
    reader = SeriesReader if Path(entry["image"]).is_dir() else PydicomReader
    return Compose(
        [
            LoadImaged(keys="image", reader=reader, ensure_channel_first=True),
            LoadImaged(keys="label", reader=GroundReader(modality), ensure_channel_first=True),
        ]
    )(entry)


def organs_out_of_place(image, label, modality):
    """Return the classes of which more than a tenth lies where the image shows something else."""
    return [
        index
        for index, value in BRIGHTNESS[modality].items()
        if np.mean(np.abs(image[label == index] / value - 1) < 0.35) < 0.9
    ]


def segment(volume, tmp_path, threshold):
    """Segment a volume as an inference config does, with a threshold for a network, and return what is written."""
    before = Compose(
        [
            LoadImaged(keys="image", reader=SeriesReader, ensure_channel_first=True),
            Orientationd(keys="image", axcodes="LPS", labels=None),
        ]
    )
    after = Compose(
        [
            Invertd(keys="pred", transform=before, orig_keys="image", nearest_interp=True),
            SaveImaged(
                keys="pred",
                output_dir=tmp_path / "masks",
                output_postfix="mask",
                output_dtype=np.uint8,
                resample=False,
                separate_folder=False,
                print_log=False,
            ),
        ]
    )
    data = before({"image": str(volume)})
    after({**data, "pred": (data["image"] > threshold).float()})
    (written,) = (tmp_path / "masks").iterdir()
    return data["image"], nibabel.load(written)


@pytest.mark.parametrize("modality", MODALITIES)
def test_labels_lie_on_the_organs_and_a_flip_along_any_axis_shows(pristine, modality):
    for entry in volumes_of(pristine, "validation", modality):
        data = load(entry, modality)
        image, label = np.asarray(data["image"][0]), np.asarray(data["label"][0])
        assert image.shape == label.shape
        assert set(np.unique(label)) == set(CLASSES[modality])
        assert organs_out_of_place(image, label, modality) == []
        for axis in range(3):
            assert organs_out_of_place(image, np.flip(label, axis), modality), f"axis {axis}"
        assert organs_out_of_place(image, np.flip(label, (0, 1)), modality), "half a turn"


@pytest.mark.parametrize("modality", MODALITIES)
def test_slices_are_those_of_the_volume(pristine, modality):
    volume = volumes_of(pristine, "validation", modality)[1]
    whole = load(volume, modality)
    entries = [each for each in entries_of(pristine, "validation", modality) if each["patient"] == volume["patient"]]
    entries.sort(key=lambda each: float(pydicom.dcmread(each["image"]).ImagePositionPatient[2]))
    assert len(entries) == whole["image"].shape[-1]
    for index, entry in enumerate(entries):
        data = load(entry, modality)
        assert data["image"].dtype == whole["image"].dtype
        assert np.array_equal(data["image"], whole["image"][..., index])
        assert np.array_equal(data["label"], whole["label"][..., index])
        assert np.array_equal(data["label"][0].numpy().T > 0, read_array(entry["label"]) > 0)


def test_label_has_the_affine_of_its_image(pristine):
    data = load(volumes_of(pristine, "test", "t1_out")[0], "t1_out")
    assert np.array_equal(data["label"].affine, data["image"].affine)


@pytest.mark.parametrize(
    ("modality", "greys", "classes"),
    [
        ("ct", [0, 255], [0, 1]),
        ("t2", [0, 55, 63, 70, 110, 126, 135, 175, 189, 200, 240, 252, 255], [0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]),
        ("t1_in", [1, 54, 71, 109, 136, 174, 201, 239], [0] * 8),
    ],
)
def test_grey_values_become_classes(tmp_path, modality, greys, classes):
    Image.fromarray(np.array([greys], np.uint8)).save(tmp_path / "label.png")
    ids, _ = GroundReader(modality).get_data(tmp_path / "label.png")
    assert ids[:, 0].tolist() == classes


def test_label_of_one_bit_is_read_like_one_of_eight(tmp_path):
    mask = np.eye(5, 7, dtype=bool)
    Image.fromarray(mask).save(tmp_path / "bits.png")
    assert Image.open(tmp_path / "bits.png").mode == "1"
    assert np.array_equal(GroundReader("ct").get_data(tmp_path / "bits.png")[0], mask.T)


def test_label_with_a_transparent_shade_is_refused(tmp_path):
    Image.fromarray(np.array([[0, 63, 252]], np.uint8)).save(tmp_path / "label.png", transparency=63)
    with pytest.raises(InputError, match=r"label\.png: has pixels that are not opaque"):
        GroundReader("t2").get_data(tmp_path / "label.png")


@pytest.mark.parametrize("patient", ["1", "2"])
@pytest.mark.parametrize("modality", ["ct", "t2"])
def test_label_of_a_dicom_folder_marks_the_places_that_the_slices_name(pristine, tmp_path, modality, patient):
    folder = pristine / "Train_Sets" / SEQUENCE[modality].replace("/1", f"/{patient}") / IMAGES[modality]
    threshold = {"ct": 90, "t2": 400}[modality]
    mask = segment(folder, tmp_path, threshold)[1]
    expected = SeriesReader().get_data(folder)
    assert mask.shape == expected[0].shape
    assert mask.affine == pytest.approx(expected[1]["affine"], abs=1e-3)
    marked = np.asarray(mask.dataobj)
    assert marked.sum() > 50
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        right, down = np.reshape(dataset.ImageOrientationPatient, (2, 3)).astype(float)
        values = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        rows, columns = np.nonzero(values > threshold)
        lps = np.array(dataset.ImagePositionPatient, float) + np.outer(columns * float(dataset.PixelSpacing[1]), right)
        lps += np.outer(rows * float(dataset.PixelSpacing[0]), down)
        places = nibabel.affines.apply_affine(np.linalg.inv(mask.affine), lps * [-1, -1, 1])
        indices = tuple(np.round(places).astype(int).T)
        assert np.allclose(places, np.transpose(indices), atol=0.01)
        assert marked[indices].all()
        marked[indices] = 0
    assert not marked.any(), "marked where no slice has anything"


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "ASL"])
def test_label_of_a_nifti_file_has_its_geometry_and_the_network_sees_it_upright(pristine, tmp_path, axes):
    folder = sequence_of(pristine, "t2") / IMAGES["t2"]
    values, meta = SeriesReader().get_data(folder)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(meta["affine"]), nibabel.orientations.axcodes2ornt(axes)
    )
    turned = nibabel.Nifti1Image(values, meta["affine"]).as_reoriented(turn)
    assert "".join(nibabel.aff2axcodes(turned.affine)) == axes
    nibabel.save(turned, tmp_path / "turned.nii.gz")

    seen, mask = segment(tmp_path / "turned.nii.gz", tmp_path, 400)
    assert mask.affine == pytest.approx(turned.affine, abs=1e-3)
    assert np.array_equal(mask.dataobj, np.asarray(turned.dataobj) > 400)
    upright = LoadImaged(keys="image", reader=SeriesReader, ensure_channel_first=True)({"image": folder})["image"]
    assert np.array_equal(seen, upright), "DICOM slices are what the network was trained on"


@pytest.mark.parametrize("turned", [False, True], ids=["as usual", "feet first and prone"])
def test_label_that_training_validates_by_is_turned_with_its_image(pristine, tmp_path, turned):
    shutil.copytree(pristine, tmp_path / "CHAOS")
    [entry] = volumes_of(tmp_path / "CHAOS", "validation", "ct")[:1]
    for path in Path(entry["image"]).iterdir():
        dataset = pydicom.dcmread(path)
        if turned:
            dataset.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
        dataset.save_as(path)
    data = Compose(
        [
            LoadVolumed("image"),
            Orientationd("image", axcodes="LPS", labels=None),
            LoadGroundd("label", "ct"),
        ]
    )(entry)
    stored, _ = GroundReader("ct").get_data(Path(entry["label"]))
    image, _ = SeriesReader().get_data(Path(entry["image"]))
    places = {"image": image, "label": stored}
    for key, values in places.items():
        expected = values[::-1, ::-1] if turned else values
        assert np.array_equal(data[key][0], expected), key
    assert not np.array_equal(stored, stored[::-1, ::-1])


def test_ct_is_windowed_to_soft_tissue_by_a_transform_of_monai(pristine):
    data = load(entries_of(pristine, "training", "ct")[0], "ct")
    window = ScaleIntensityRanged(keys="image", a_min=-160, a_max=240, b_min=0, b_max=1, clip=True)(data)
    image, liver = window["image"].numpy(), data["label"].numpy() == 1
    assert image[liver].mean() == pytest.approx((115 + 160) / 400, abs=0.03)
    assert (image.min(), image.max()) == (0, 1)


def test_mr_slices_are_normalised_alike_by_themselves_and_in_a_volume(pristine):
    volume = volumes_of(pristine, "validation", "t2")[0]
    scale = {"keys": "image", "lower": 1, "upper": 99, "b_min": 0, "b_max": 1, "clip": True}
    whole = Compose(
        [
            LoadImaged(keys="image", reader=SeriesReader),
            Transposed(keys="image", indices=[2, 0, 1]),
            ScaleIntensityRangePercentilesd(**scale, channel_wise=True),
            Transposed(keys="image", indices=[1, 2, 0]),
            EnsureChannelFirstd(keys="image", channel_dim="no_channel"),
        ]
    )(volume)["image"]
    path = next(Path(volume["image"]).iterdir())
    alone = Compose(
        [
            LoadImaged(keys="image", reader=PydicomReader, ensure_channel_first=True),
            ScaleIntensityRangePercentilesd(**scale),
        ]
    )({"image": str(path)})["image"]
    assert whole.shape == (1, 42, 35, 6)
    assert sum(np.allclose(alone, whole[..., index], atol=1e-5) for index in range(6)) == 1


def test_labels_that_do_not_pair_are_not_read_as_a_volume(phantoms):
    ground = files_of(phantoms, "ct")[0].parent
    files_of(phantoms, "ct")[3].unlink()
    with pytest.raises(InputError, match="7 labels for 8 slices"):
        LoadImaged(keys="label", reader=GroundReader("ct"))({"label": str(ground)})
