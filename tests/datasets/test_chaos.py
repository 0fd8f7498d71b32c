"""CHAOS: what is accepted, what is refused and how, where labels lie, and the phantoms."""

import re
import shutil
from collections import Counter
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
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1

from common.datasets.chaos import ChaosDataset, class_names
from common.datasets.readers.chaos import CLASSES, GroundReader, LoadGroundd
from common.datasets.readers.series import SeriesReader
from common.datasets.readers.volumes import LoadVolumed
from common.datasets.splits import SPLITS
from common.errors import InputError

SIZE = (40, 48)
MODALITIES = ("ct", "t1_in", "t1_out", "t2")
SEQUENCE = {"ct": "CT/1", "t1_in": "MR/1/T1DUAL", "t1_out": "MR/1/T1DUAL", "t2": "MR/1/T2SPIR"}
IMAGES = {"ct": "DICOM_anon", "t1_in": "DICOM_anon/InPhase", "t1_out": "DICOM_anon/OutPhase", "t2": "DICOM_anon"}


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("chaos")


@pytest.fixture
def phantoms(pristine, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(pristine / "Train_Sets", tmp_path / "CHAOS" / "Train_Sets")).parent


def folder_of(root):
    return ChaosDataset(root=root, modality="ct").folder


def entries_of(folder, split, modality, **settings):
    return ChaosDataset(root=folder, modality=modality, **settings).entries(split)


def volumes_of(folder, split, modality, **settings):
    return ChaosDataset(root=folder, modality=modality, **settings).volumes(split)


def check(folder, modality, **settings):
    return ChaosDataset(root=folder, modality=modality, **settings).check()


def issues_of(folder, modality, **arguments):
    with pytest.raises(InputError) as caught:
        check(folder, modality, **arguments)
    return str(caught.value)


def patients_of(entries):
    return {entry["patient"] for entry in entries}


def sequence_of(folder, modality):
    return folder / "Train_Sets" / SEQUENCE[modality]


def files_of(folder, modality, what="Ground"):
    return sorted((sequence_of(folder, modality) / (IMAGES[modality] if what == "images" else what)).iterdir())


def read_array(path):
    return np.asarray(Image.open(path))


# Finding the folder


@pytest.mark.parametrize("given", [".", "..", "Train_Sets", "Train_Sets/CT", "Train_Sets/MR"])
def test_root_is_found_from_one_level_off(phantoms, given):
    assert folder_of(phantoms / given) == phantoms


@pytest.mark.parametrize("given", ["Train_Sets/CT/1", "Train_Sets/CT/1/DICOM_anon"])
def test_folder_two_levels_too_low_is_told_the_level_that_is_expected(phantoms, given):
    with pytest.raises(InputError, match=r"no Train_Sets here .*Train_Sets/CT/1/DICOM_anon and Train_Sets/CT/1/Ground"):
        folder_of(phantoms / given)


def test_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder; expected .*Train_Sets"):
        folder_of(tmp_path / "nowhere")


def test_two_copies_are_not_chosen_between(tmp_path):
    for name in ("CHAOS", "CHAOS2"):
        (tmp_path / name / "Train_Sets").mkdir(parents=True)
    with pytest.raises(InputError, match="CHAOS, CHAOS2"):
        folder_of(tmp_path)


def test_unknown_modality_is_refused_with_the_known_ones(pristine):
    for refused in (
        lambda: check(pristine, "mr"),
        lambda: entries_of(pristine, "test", "mr"),
        lambda: class_names("mr"),
        lambda: GroundReader("mr"),
    ):
        with pytest.raises(InputError, match="modality: expected ct, t1_in, t1_out, t2, got 'mr'"):
            refused()


@pytest.mark.parametrize("modality", [["ct", "t2"], {"ct": 1}, 2, None])
def test_modality_that_is_no_name_is_refused_with_the_known_ones(pristine, modality):
    expected = re.escape(f"modality: expected ct, t1_in, t1_out, t2, got {modality!r}")
    for refused in (lambda: check(pristine, modality), lambda: class_names(modality)):
        with pytest.raises(InputError, match=expected):
            refused()


def test_classes_are_those_of_the_modality():
    assert class_names("ct") == ["background", "liver"]
    for modality in ("t1_in", "t1_out", "t2"):
        assert class_names(modality) == ["background", "liver", "right kidney", "left kidney", "spleen"]


# Splits


@pytest.mark.parametrize(("modality", "slices"), [("ct", 8), ("t1_in", 10), ("t1_out", 10), ("t2", 6)])
def test_a_quarter_of_the_patients_is_held_out(pristine, modality, slices):
    expected = {"training": 2 * slices, "validation": 2 * slices, "test": slices}
    assert check(pristine, modality) == expected
    for split in SPLITS:
        assert len(entries_of(pristine, split, modality)) == expected[split]


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("seed", range(4))
def test_splits_share_no_patient_and_leave_none_out(pristine, modality, seed):
    parts = [patients_of(entries_of(pristine, split, modality, seed=seed)) for split in SPLITS]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 5
    assert parts == [patients_of(volumes_of(pristine, split, modality, seed=seed)) for split in SPLITS]


@pytest.mark.parametrize("split", SPLITS)
def test_sequences_of_one_patient_are_in_one_split(pristine, split):
    parts = [patients_of(entries_of(pristine, split, modality)) for modality in ("t1_in", "t1_out", "t2")]
    assert parts[0] == parts[1] == parts[2]


def test_missing_t2_is_named_and_moves_no_t1_to_another_split(phantoms):
    before = [entries_of(phantoms, split, "t1_in") for split in SPLITS]
    shutil.rmtree(phantoms / "Train_Sets/MR/3/T2SPIR")
    assert [entries_of(phantoms, split, "t1_in") for split in SPLITS] == before
    message = issues_of(phantoms, "t2")
    assert "Train_Sets/MR/3/T2SPIR/DICOM_anon: no such folder" in message
    assert "Train_Sets/MR/3/T2SPIR/Ground: no such folder" in message
    assert "2 issues" in message


@pytest.mark.parametrize("modality", MODALITIES)
def test_entries_join_the_slices_and_labels_that_chaos_joins(pristine, modality):
    offset = {"ct": None, "t1_in": 0, "t1_out": 1, "t2": 0}[modality]
    for split in SPLITS:
        for entry in entries_of(pristine, split, modality):
            image, label = Path(entry["image"]), Path(entry["label"])
            sequence = pristine / "Train_Sets" / SEQUENCE[modality].replace("/1", f"/{entry['patient']}")
            assert (image.parent, label.parent) == (sequence / IMAGES[modality], sequence / "Ground")
            if modality == "ct":
                number = int(image.stem[1:5]) if image.stem.startswith("i0") else int(image.stem[-5:]) - 1
                assert label.name == f"liver_GT_{number:03d}.png"
            else:
                assert int(label.stem[-5:]) == int(image.stem[-5:]) + offset


# Label budget


def test_small_label_budget_is_part_of_a_larger_one(pristine):
    large = entries_of(pristine, "training", "ct")
    assert entries_of(pristine, "training", "ct", num_labels=5) == large[:5]
    assert len({entry["image"] for entry in large}) == len(large) == 16


def test_label_budget_takes_from_the_patients_in_turn(pristine):
    drawn = entries_of(pristine, "training", "t1_in", num_validation=1, num_labels=8)
    assert sorted(Counter(entry["patient"] for entry in drawn).values()) == [2, 3, 3]
    assert len(patients_of(drawn[:3])) == 3


@pytest.mark.parametrize("count", [2, 4])
def test_label_budget_is_spread_evenly_over_a_volume(pristine, count):
    drawn = entries_of(pristine, "training", "ct", num_labels=2 * count)
    for patient in patients_of(drawn):
        files = [path.name for path in sorted((pristine / "Train_Sets/CT" / patient / "Ground").iterdir())]
        taken = sorted(files.index(Path(entry["label"]).name) for entry in drawn if entry["patient"] == patient)
        assert np.diff(taken).tolist() == [8 // count] * (count - 1)


def test_first_label_of_the_first_patient_is_in_the_middle(pristine):
    first = entries_of(pristine, "training", "ct", num_labels=1)[0]
    assert Path(first["label"]).name == "liver_GT_004.png"


def test_label_budget_leaves_validation_and_test_alone(pristine):
    for split in ("validation", "test"):
        assert entries_of(pristine, split, "t2", num_labels=1) == entries_of(pristine, split, "t2")


@pytest.mark.parametrize("num_labels", [0, -1, 17])
def test_label_budget_out_of_range_says_how_many_there_are(pristine, num_labels):
    message = f"num_labels must be between 1 and the 16 training slices available, got {num_labels}"
    assert message in issues_of(pristine, "ct", num_labels=num_labels)
    with pytest.raises(InputError, match=message):
        entries_of(pristine, "training", "ct", num_labels=num_labels)


def test_too_few_patients_says_how_many_are_needed(phantoms):
    assert "num_validation must be at least 1, got 0" in issues_of(phantoms, "ct", num_validation=0)
    for patient in ("5", "6"):
        shutil.rmtree(phantoms / "Train_Sets/CT" / patient)
    needed = "Train_Sets/CT: 4 patients needed (1 for the test, 2 for validation and 1 for training), found 3"
    assert needed in issues_of(phantoms, "ct")
    assert check(phantoms, "ct", num_validation=1) == {"training": 8, "validation": 8, "test": 8}


# Where labels lie


def load(entry, modality):
    reader = SeriesReader if Path(entry["image"]).is_dir() else PydicomReader
    return Compose(
        [
            LoadImaged(keys="image", reader=reader, ensure_channel_first=True),
            LoadImaged(keys="label", reader=GroundReader(modality), ensure_channel_first=True),
        ]
    )(entry)


# What the phantoms' organs are painted with, apart from noise and, in MR, a field that is uneven by 15 %.
BRIGHTNESS = {
    "ct": {1: 115},
    "t1_in": {1: 520, 2: 340, 3: 340, 4: 290},
    "t1_out": {1: 470, 2: 330, 3: 330, 4: 280},
    "t2": {1: 210, 2: 640, 3: 640, 4: 460},
}


def organs_out_of_place(image, label, modality):
    """Return the classes of which more than a tenth lies where the image shows something else."""
    return [
        index
        for index, value in BRIGHTNESS[modality].items()
        if np.mean(np.abs(image[label == index] / value - 1) < 0.35) < 0.9
    ]


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


# Intensities


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


# Bad input


def test_group_that_is_missing_is_one_issue(phantoms):
    shutil.rmtree(phantoms / "Train_Sets/MR")
    assert "Train_Sets/MR: no such folder; expected 1/T2SPIR/DICOM_anon and 1/T2SPIR/Ground" in issues_of(
        phantoms, "t2"
    )
    assert check(phantoms, "ct")["test"] == 8


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("what", ["images", "Ground"])
def test_unequal_numbers_of_slices_and_labels_name_the_patient_and_the_hole(phantoms, modality, what):
    before, lost, after = files_of(phantoms, modality, what)[2:5]
    lost.unlink()
    slices = {"ct": 8, "t2": 6}.get(modality, 10)
    found = (slices - 1, slices) if what == "images" else (slices, slices - 1)
    name = f"Train_Sets/{SEQUENCE[modality]}"
    folder = IMAGES[modality] if what == "images" else "Ground"
    message = issues_of(phantoms, modality)
    assert f"{name}: {found[0]} slices in {IMAGES[modality]}, but {found[1]} labels in Ground" in message
    assert f"{folder} has none between {before.name} and {after.name}" in message
    with pytest.raises(InputError, match=f"{name}: {found[0]} slices"):
        entries_of(phantoms, "training", modality)


def test_equal_numbers_with_a_hole_in_one_of_them_do_not_pair(phantoms):
    files_of(phantoms, "t2", "images")[-1].unlink()
    files_of(phantoms, "t2")[2].unlink()
    message = issues_of(phantoms, "t2")
    assert "MR/1/T2SPIR/Ground: has no file between IMG-0002-00002.png and IMG-0002-00004.png" in message


def test_slice_and_label_missing_together_are_found_by_the_gap(phantoms):
    files_of(phantoms, "ct", "images")[3].unlink()
    files_of(phantoms, "ct")[3].unlink()
    message = issues_of(phantoms, "ct")
    assert "CT/1/DICOM_anon: 1 slice is missing between i0002,0000b.dcm and i0004,0000b.dcm" in message
    assert "1 issue\n" in message


def test_mixed_series_name_the_patient(phantoms):
    target = sequence_of(phantoms, "t1_in") / IMAGES["t1_in"]
    shutil.copytree(sequence_of(phantoms, "t1_in") / IMAGES["t1_out"], target, dirs_exist_ok=True)
    message = issues_of(phantoms, "t1_in")
    assert "MR/1/T1DUAL/DICOM_anon/InPhase: 10 extra slices" in message
    assert "MR/1/T1DUAL: 20 slices in DICOM_anon/InPhase, but 10 labels in Ground" in message
    assert check(phantoms, "t1_out")["test"] == 10


def test_names_that_do_not_follow_the_slices_are_refused(phantoms):
    second, third = files_of(phantoms, "ct", "images")[3:5]
    second.rename(second.with_name("swap"))
    third.rename(second)
    second.with_name("swap").rename(third)
    message = issues_of(phantoms, "ct")
    assert "CT/1/DICOM_anon: sorted by name, the slices are not in the order" in message


def test_compression_that_cannot_be_decoded_is_one_issue_for_a_patient(phantoms):
    for path in files_of(phantoms, "ct", "images"):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = encapsulate([b"\xff\xd8\xff\xc3 not a picture \xff\xd9"])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.save_as(path)
    message = issues_of(phantoms, "ct")
    assert "CT/1/DICOM_anon/i0000,0000b.dcm and 7 more: its pixels are compressed (JPEG Lossless" in message
    assert "1 issue\n" in message


@pytest.mark.parametrize(
    ("modality", "value"), [("ct", 254), ("ct", 63), ("t1_in", 54), ("t1_in", 71), ("t2", 150), ("t2", 239)]
)
def test_grey_value_that_belongs_to_no_class_is_named(phantoms, modality, value):
    first, second = files_of(phantoms, modality)[1:3]
    for path in (first, second):
        mask = read_array(path).copy()
        mask[3, 4] = value
        Image.fromarray(mask).save(path)
    message = issues_of(phantoms, modality)
    assert f"{SEQUENCE[modality]}/Ground/{first.name} and 1 more: grey values {value} are outside the known" in message
    assert ("liver 255" if modality == "ct" else "liver 55-70, right kidney 110-135") in message


def test_label_of_another_size_is_named_with_both_sizes(phantoms):
    path = files_of(phantoms, "t2")[3]
    Image.open(path).resize((20, 30), Image.Resampling.NEAREST).save(path)
    assert f"T2SPIR/Ground/{path.name}: is 20 x 30, but its slice is 42 x 35 pixels" in issues_of(phantoms, "t2")


def test_turned_label_is_named(phantoms):
    path = files_of(phantoms, "ct")[3]
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
    assert f"CT/1/Ground/{path.name}: is 40 x 48, but its slice is 48 x 40 pixels" in issues_of(phantoms, "ct")


def test_label_in_colour_is_named(phantoms):
    path = files_of(phantoms, "ct")[3]
    Image.open(path).convert("RGB").save(path)
    expected = f"CT/1/Ground/{path.name}: expected one 8-bit grey channel, got Pillow mode RGB"
    assert expected in issues_of(phantoms, "ct")


def test_scan_without_any_structure_is_named(phantoms):
    for path in files_of(phantoms, "t2"):
        Image.fromarray(np.zeros_like(read_array(path))).save(path)
    message = issues_of(phantoms, "t2")
    assert "MR/1/T2SPIR/Ground: every label is empty; expected liver, right kidney, left kidney, spleen" in message


@pytest.mark.parametrize("what", ["images", "Ground"])
def test_empty_and_truncated_files_are_named_by_reason(phantoms, what):
    empty, also_empty, cut = files_of(phantoms, "ct", what)[2:5]
    for path in (empty, also_empty):
        path.write_bytes(b"")
    cut.write_bytes(cut.read_bytes()[:60])
    message = issues_of(phantoms, "ct")
    folder = IMAGES["ct"] if what == "images" else "Ground"
    assert f"CT/1/{folder}/{empty.name} and 1 more: the file is empty" in message
    assert f"CT/1/{folder}/{cut.name}: cannot be read" in message
    assert "2 issues\n" in message


def test_files_of_the_system_are_ignored(phantoms):
    for what in ("images", "Ground"):
        folder = files_of(phantoms, "ct", what)[0].parent
        for name in (".DS_Store", "Thumbs.db", "._liver_GT_000.png", "._i0000,0000b.dcm"):
            (folder / name).write_bytes(b"x")
    (phantoms / "Train_Sets/CT/.hidden").mkdir()
    assert check(phantoms, "ct")["test"] == 8
    ground = files_of(phantoms, "ct")[0].parent
    assert GroundReader("ct").get_data(ground)[0].shape == (48, 40, 8)


def test_all_issues_are_listed_at_once(phantoms):
    files_of(phantoms, "ct", "images")[3].unlink()
    ct = phantoms / "Train_Sets/CT"
    (ct / "2/Ground/liver_GT_002.png").write_bytes(b"")
    shutil.rmtree(ct / "5/Ground")
    next((ct / "6/DICOM_anon").iterdir()).write_bytes(b"x" * 999)
    message = issues_of(phantoms, "ct", num_labels=99)
    assert message.startswith(f"CHAOS in {phantoms}: 6 issues")
    for part in (
        "CT/1: 7 slices",
        "CT/1/DICOM_anon: 1 slice is missing",
        "CT/2/Ground/liver_GT_002.png",
        "CT/5/Ground",
    ):
        assert part in message
    assert "CT/6/DICOM_anon/" in message
    assert "num_labels" in message


def test_labels_that_do_not_pair_are_not_read_as_a_volume(phantoms):
    ground = files_of(phantoms, "ct")[0].parent
    files_of(phantoms, "ct")[3].unlink()
    with pytest.raises(InputError, match="7 labels for 8 slices"):
        LoadImaged(keys="label", reader=GroundReader("ct"))({"label": str(ground)})
