"""The CHAOS bundle from end to end, on phantoms: trained on slices, evaluated and used on whole volumes."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import integration
import monai
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from bundle_tests import AloneTests, PipelineTests
from integration import BUNDLES, STUDENT, refused, run_python, tiny_student
from PIL import Image
from scipy.ndimage import binary_erosion, distance_transform_edt

from common.datasets.chaos import ChaosDataset, class_names
from common.distillation.teacher_outputs import output_keys

BUNDLE = BUNDLES / "chaos_segmentation"
ORGANS = {"ct": ["liver"], "t2": ["liver", "right kidney", "left kidney", "spleen"]}
PHANTOMS = {"num_patients": 4, "num_slices": 8}

load_stage = partial(integration.load_stage, bundle=BUNDLE)
run_stage = partial(integration.run_stage, bundle=BUNDLE)


def dataset(root: Path, modality: str) -> ChaosDataset:
    return ChaosDataset(root=root, modality=modality, num_validation=1)


@pytest.fixture(scope="module")
def pipeline_run(run_bundle):
    """Slices of CT and T1 have 40 x 48 pixels, those of T2 35 x 42."""
    return run_bundle(BUNDLE, {**PHANTOMS, "image_size": (40, 48)})


@pytest.fixture(scope="module")
def phantoms(pipeline_run) -> Path:
    return pipeline_run.dataset_dir


@pytest.fixture(scope="module")
def square_phantoms(tmp_path_factory) -> Path:
    """Slices of CT have 48 x 48 pixels: with an image_size of 48 they reach the network as they are."""
    return ChaosDataset.write_phantoms(tmp_path_factory.mktemp("square") / "CHAOS", **PHANTOMS, image_size=(48, 48))


class TestPipeline(PipelineTests):
    classes = tuple(ORGANS["t2"])
    test_cases = ("2",)
    in_channels = 1
    cases_are = "volumes"
    distance_unit = "mm"

    def test_the_test_cases_are_patients(self, pipeline_run):
        entries = dataset(pipeline_run.dataset_dir, "t2").volumes("test")
        assert tuple(entry["patient"] for entry in entries) == self.test_cases

    def test_synthetic_slices_are_grey_pictures(self, pipeline_run):
        for path in (pipeline_run.output_dir / "transfer" / "images").iterdir():
            assert (Image.open(path).mode, Image.open(path).size) == ("L", (32, 32))


@pytest.mark.parametrize("modality", ["ct", "t1_in", "t1_out"])
def test_every_modality_trains_and_is_evaluated(phantoms, tmp_path, modality):
    folders = {"dataset_dir": phantoms, "output_dir": tmp_path}
    run_stage("train", initial_weights=None, epochs=1, samples_per_epoch=2, modality=modality, **folders)
    run_stage("evaluate", **folders)  # knows the modality from the student
    with (tmp_path / "evaluation/student/metrics.csv").open(newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == class_names(modality)[1:]


# What the networks are shown


def preprocessed(stage: str, section: str, entries: list[dict[str, str]], **overrides: Any) -> list[dict[str, Any]]:
    """Return entries as a stage loads them, without what is random."""
    workflow = load_stage(stage, **overrides)
    transforms = workflow.parser.get_parsed_content(section).transforms
    fixed = [each for each in transforms if not isinstance(each, monai.transforms.RandomizableTrait)]
    return [monai.transforms.Compose(fixed)(entry) for entry in entries]


@pytest.mark.parametrize("modality", ["ct", "t2"])
def test_slices_and_volumes_look_the_same_to_the_network(phantoms, modality):
    """Trained on slices, the networks meet whole volumes: both must be scaled and resized alike."""
    keys = {"dataset_dir": phantoms, "modality": modality}
    slices = dataset(phantoms, modality).entries("validation")
    slices.sort(key=lambda entry: float(pydicom.dcmread(entry["image"]).ImagePositionPatient[2]))
    entries = dataset(phantoms, modality).volumes("validation")
    images = preprocessed("train", "train::preprocessing", slices, **keys)
    expected = {key: torch.stack([item[key] for item in images], -1) for key in ("image", "label")}
    assert expected["image"].shape == (1, 32, 32, len(slices))
    for stage, section in (
        ("train", "validate::preprocessing"),
        ("evaluate", "validate::preprocessing"),
        ("inference", "preprocessing"),
    ):
        (volume,) = preprocessed(stage, section, entries, **keys)
        assert torch.allclose(volume["image"].as_tensor(), expected["image"], atol=1e-5), stage
        if stage == "train":
            assert torch.equal(volume["label"].as_tensor(), expected["label"])
    drawn_from = torch.stack(
        [each["image"] for each in preprocessed("train_diffusion", "train::preprocessing", slices, **keys)], -1
    )
    assert torch.equal(drawn_from, expected["image"])


# What the phantoms' organs are painted with, by class, as the default window and percentiles scale it.
TONES = {"ct": {1: 0.69}, "t2": {1: 0.33, 2: 1, 3: 1, 4: 0.72}}


def flips_that_fit(image: np.ndarray, label: np.ndarray, modality: str, axes: Sequence[int]) -> list[int]:
    """Return the axes along which the label fits the image as well, or nearly so, when it is mirrored."""

    def misfit(ids: np.ndarray) -> float:
        return float(np.mean([np.abs(image[ids == index] - tone).mean() for index, tone in TONES[modality].items()]))

    return [axis for axis in axes if misfit(np.flip(label, axis)) < 1.8 * misfit(label)]


@pytest.mark.parametrize("modality", ["ct", "t2"])
class TestAlignment:
    """Image and label lie on each other; phantoms are symmetric in no axis, so that a flip in any of them shows."""

    def test_of_augmented_slices(self, phantoms, modality):
        for stage in ("finetune_teacher", "train"):
            keys = {"dataset_dir": phantoms, "modality": modality, "samples_per_epoch": 24}
            dataset = load_stage(stage, **keys).parser.get_parsed_content("train::dataset")
            items = [dataset[index] for index in range(len(dataset))]
            image, label = (np.stack([np.asarray(item[key][0]) for item in items]) for key in ("image", "label"))
            assert len(np.unique(label)) == 1 + len(ORGANS[modality])
            assert flips_that_fit(image, label, modality, (1, 2)) == []

    def test_of_volumes_in_validation(self, phantoms, modality):
        keys = {"dataset_dir": phantoms, "modality": modality}
        dataset = load_stage("train", **keys).parser.get_parsed_content("validate::dataset")
        for item in dataset:
            assert flips_that_fit(np.asarray(item["image"][0]), np.asarray(item["label"][0]), modality, range(3)) == []

    def test_of_volumes_in_evaluation_after_everything_is_undone(self, phantoms, tmp_path, modality):
        student = tiny_student(in_channels=1, num_classes=1 + len(ORGANS[modality]))
        torch.save(student.state_dict(), tmp_path / "m.pt")
        keys = {"dataset_dir": phantoms, "output_dir": tmp_path, "modality": modality, "ckpt_path": tmp_path / "m.pt"}
        workflow = run_stage("evaluate", **keys)
        (item,) = workflow.parser.get_parsed_content("validate::evaluator").state.output
        label = item["label"].argmax(0).numpy()
        assert (
            item["image"].shape[1:]
            == item["pred"].shape[1:]
            == label.shape
            == ((48, 40, 8) if modality == "ct" else (42, 35, 6))
        )
        assert item["image"].affine.numpy() == pytest.approx(item["label"].affine.numpy())
        assert flips_that_fit(item["image"][0].numpy(), label, modality, range(3)) == []


def test_augmentation_never_swaps_left_and_right(phantoms):
    """Columns go to the patient's left."""
    dataset = load_stage("train", dataset_dir=phantoms, samples_per_epoch=48).parser.get_parsed_content(
        "train::dataset"
    )
    columns = [[np.nonzero(np.asarray(item["label"][0]) == index)[0] for index in (2, 3)] for item in dataset]
    both = [(right.mean(), left.mean()) for right, left in columns if len(right) and len(left)]
    assert len(both) > 10
    assert all(right < left for right, left in both)


def test_distillation_mixes_synthetic_unlabelled_and_labelled_slices(pipeline_run, tmp_path):
    shutil.copytree(pipeline_run.output_dir / "teacher", tmp_path / "teacher")
    shutil.copytree(pipeline_run.output_dir / "transfer", tmp_path / "transfer")
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))  # dark on the left, bright on the right
    Image.fromarray(ramp).save(tmp_path / "transfer/images/000001.png")
    unlabelled = pipeline_run.dataset_dir / "Test_Sets/MR/4/T2SPIR"
    keys = {"dataset_dir": pipeline_run.dataset_dir, "output_dir": tmp_path, "unlabelled_dir": unlabelled}
    dataset = load_stage("distill", **keys).parser.get_parsed_content("train::dataset")
    items = [dataset[index] for index in range(len(dataset))]
    assert [item["labelled"] for item in items] == [False] * (4 + 6) + [True] * (4 + 6)
    for item in items:
        assert item.keys() == {"image", "label", "labelled", "inside", *output_keys(["encoder.neck"])}
        assert item["image"].shape == item["label"].shape == (1, 32, 32)
        assert 0 <= item["image"].min() <= item["image"].max() <= 1.2, "contrast is augmented"
    assert not any(item["label"].any() for item in items[:10])
    assert any(item["label"].any() for item in items[10:])
    columns = items[0]["image"][0].mean(1)
    assert columns[:8].mean() < columns[-8:].mean() - 0.3, "axes as MONAI's readers order them: columns first"


# By hand, with a network that calls bright voxels of CT liver

THRESHOLD = 90.5  # Hounsfield units; organs and bones are above


@pytest.fixture
def bright_detector(tmp_path) -> dict[str, Any]:
    """That network, as settings of a stage."""
    bias = torch.tensor([(THRESHOLD + 160) / 400, 0])  # in the default window
    torch.save({"weight": torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), "bias": bias}, tmp_path / "bright.pt")
    definition = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}
    return {
        "student_def": definition,
        "ckpt_path": tmp_path / "bright.pt",
        "modality": "ct",
        "image_size": 48,
    }


def read_by_hand(folder: Path) -> Iterator[tuple[pydicom.Dataset, np.ndarray]]:
    """Yield the headers and the Hounsfield units ``(rows, columns)`` of slices, sorted by name."""
    for path in sorted(folder.iterdir()):
        header = pydicom.dcmread(path)
        yield header, header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)


def hd95(a: np.ndarray, b: np.ndarray, spacing: list[float]) -> float:
    edges = [mask & ~binary_erosion(mask) for mask in (a, b)]
    there = distance_transform_edt(~edges[1], sampling=spacing)[edges[0]]
    back = distance_transform_edt(~edges[0], sampling=spacing)[edges[1]]
    return max(np.percentile(there, 95), np.percentile(back, 95))


class TestEvaluation:
    def evaluate(self, phantoms: Path, output_dir: Path, **keys: Any) -> tuple[float, float]:
        run_stage("evaluate", dataset_dir=phantoms, output_dir=output_dir, **keys)
        with (output_dir / "evaluation/student/metrics.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        return float(row["dice"]), float(row["hd95"])

    def by_hand(self, phantoms: Path) -> tuple[float, float]:
        (entry,) = dataset(phantoms, "ct").volumes("test")
        headers, values = zip(*read_by_hand(Path(entry["image"])), strict=True)
        predicted = np.stack(values) > THRESHOLD
        label = np.stack([np.asarray(Image.open(path)) for path in sorted(Path(entry["label"]).iterdir())]) > 0
        step = abs(headers[1].ImagePositionPatient[2] - headers[0].ImagePositionPatient[2])
        spacing = [float(step), *map(float, headers[0].PixelSpacing)]
        assert max(spacing) > 3 * min(spacing)
        dice = 2 * (predicted & label).sum() / (predicted.sum() + label.sum())
        return dice, hd95(predicted, label, spacing)

    def test_dice_and_distance_are_those_by_hand(self, square_phantoms, bright_detector, tmp_path):
        dice, distance = self.evaluate(square_phantoms, tmp_path, **bright_detector)
        assert (dice, distance) == pytest.approx(self.by_hand(square_phantoms), rel=1e-4)

    def test_they_are_the_same_when_slices_are_resized_and_back(self, square_phantoms, bright_detector, tmp_path):
        resized = {
            **bright_detector,
            "image_size": 3 * 48,
        }  # among three pixels in a row, the middle one is the old one
        dice, distance = self.evaluate(square_phantoms, tmp_path, **resized)
        assert (dice, distance) == pytest.approx(self.by_hand(square_phantoms), rel=1e-4)


def read_mask(path: Path) -> nibabel.Nifti1Image:
    mask = nibabel.load(path)
    assert np.asarray(mask.dataobj).dtype == np.uint8
    return mask


def turned(axes: str, folder: Path) -> nibabel.Nifti1Image:
    """Return a CT as an oblique NIfTI volume whose axes go to ``axes``."""
    headers, values = zip(*read_by_hand(folder), strict=True)
    data = np.stack([each.T for each in values], axis=-1).astype(np.int16)  # columns, rows, slices
    affine = np.diag([-headers[0].PixelSpacing[1], -headers[0].PixelSpacing[0], 1.0, 1.0])
    affine[2, 2] = headers[1].ImagePositionPatient[2] - headers[0].ImagePositionPatient[2]
    cos, sin = np.cos(0.2), np.sin(0.2)
    tilt = np.array([[1, 0, 0, 5], [0, cos, -sin, 7], [0, sin, cos, -9], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(data, tilt @ affine)
    orientation = nibabel.orientations.axcodes2ornt(axes)
    return image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), orientation))


class TestInference:
    @pytest.mark.parametrize("patient", ["1", "2"])
    def test_label_of_a_dicom_folder_marks_the_places_that_its_slices_name(
        self, square_phantoms, bright_detector, tmp_path, patient
    ):
        """The slices of the first patient are stored from the feet up, of the second from the head down."""
        folder = square_phantoms / "Train_Sets/CT" / patient / "DICOM_anon"
        run_stage("inference", dataset_dir=folder, output_dir=tmp_path / "masks", **bright_detector)
        mask = read_mask(tmp_path / "masks/DICOM_anon_mask.nii.gz")
        assert mask.shape == (48, 48, 8)
        assert nibabel.aff2axcodes(mask.affine) == ("L", "P", "S")
        marked = np.asarray(mask.dataobj)
        for header, values in read_by_hand(folder):
            assert mask.header.get_zooms()[:2] == pytest.approx([float(each) for each in header.PixelSpacing[::-1]])
            rows, columns = np.nonzero(values > THRESHOLD)
            steps = np.stack([columns * header.PixelSpacing[1], rows * header.PixelSpacing[0], 0 * rows], axis=1)
            lps = np.array(header.ImagePositionPatient, float) + steps.astype(float)
            places = nibabel.affines.apply_affine(np.linalg.inv(mask.affine), lps * [-1, -1, 1])
            assert places == pytest.approx(np.round(places), abs=0.01)
            indices = tuple(np.round(places).astype(int).T)
            assert marked[indices].all()
            marked[indices] = 0
        assert not marked.any(), "marked where no slice has anything"

    @pytest.mark.parametrize("axes", ["LPS", "RAS", "PIR", "SAL"])
    def test_label_of_a_nifti_file_has_its_affine_and_its_values_in_place(
        self, square_phantoms, bright_detector, tmp_path, axes
    ):
        image = turned(axes, square_phantoms / "Train_Sets/CT/1/DICOM_anon")
        assert "".join(nibabel.aff2axcodes(image.affine)) == axes
        nibabel.save(image, tmp_path / "ct.scan.nii.gz")
        run_stage(
            "inference", dataset_dir=tmp_path / "ct.scan.nii.gz", output_dir=tmp_path / "masks", **bright_detector
        )
        mask = read_mask(tmp_path / "masks/ct.scan_mask.nii.gz")
        assert mask.affine == pytest.approx(image.affine, abs=1e-4)
        assert np.array_equal(mask.dataobj, np.asarray(image.dataobj) > THRESHOLD)

    @pytest.mark.parametrize("axes", ["RAS", "PIR"])
    def test_the_network_sees_a_nifti_file_as_it_sees_dicom(self, phantoms, tmp_path, axes):
        folder = phantoms / "Train_Sets/CT/1/DICOM_anon"
        nibabel.save(turned(axes, folder), tmp_path / "ct.nii")
        entries = [{"image": str(folder)}, {"image": str(tmp_path / "ct.nii")}]
        series, nifti = preprocessed("inference", "preprocessing", entries, modality="ct")
        assert series["image"].shape == (1, 32, 32, 8)
        assert torch.equal(series["image"].as_tensor(), nifti["image"].as_tensor())

    def test_slices_that_are_no_squares_are_resized_and_back(self, phantoms, bright_detector, tmp_path):
        image = turned("RAS", phantoms / "Test_Sets/CT/3/DICOM_anon").slicer[12:36]
        assert image.shape == (24, 40, 8)
        nibabel.save(image, tmp_path / "ct.nii")
        resized = {**bright_detector, "image_size": 120}  # odd multiples of both sides, so that no voxel gets lost
        run_stage("inference", dataset_dir=tmp_path / "ct.nii", output_dir=tmp_path / "masks", **resized)
        mask = read_mask(tmp_path / "masks/ct_mask.nii.gz")
        assert mask.affine == pytest.approx(image.affine, abs=1e-4)
        assert np.array_equal(mask.dataobj, np.asarray(image.dataobj) > THRESHOLD)

    def test_all_volumes_of_a_folder_but_the_unreadable_ones(self, phantoms, bright_detector, tmp_path):
        for name in ("a/DICOM_anon", "b/DICOM_anon", "b/broken"):
            shutil.copytree(phantoms / "Test_Sets/CT/3/DICOM_anon", tmp_path / "scans" / name)
        nibabel.save(turned("RAS", tmp_path / "scans/a/DICOM_anon"), tmp_path / "scans/c.nii")
        next((tmp_path / "scans/b/broken").iterdir()).write_bytes(b"")
        with refused(r"^3 masks written to .*masks, 1 left out: b/broken \(b/broken/.*: the file is empty"):
            run_stage("inference", dataset_dir=tmp_path / "scans", output_dir=tmp_path / "masks", **bright_detector)
        written = {path.relative_to(tmp_path / "masks").as_posix(): read_mask(path) for path in tmp_path.rglob("*.gz")}
        assert written.keys() == {"a/DICOM_anon_mask.nii.gz", "b/DICOM_anon_mask.nii.gz", "c_mask.nii.gz"}
        assert {mask.shape for mask in written.values()} == {(48, 40, 8)}
        log = (tmp_path / "masks/logs/inference.log").read_text(encoding="utf-8")
        assert "1 left out:\n  b/broken: b/broken/" in log


class TestRefused:
    """Bad input gets one clear message before any work."""

    @pytest.fixture
    def damaged(self, phantoms, tmp_path) -> Path:
        """A copy with a slice missing in one patient and labels missing in another."""
        damaged = tmp_path / "CHAOS"
        shutil.copytree(phantoms / "Train_Sets", damaged / "Train_Sets")
        sorted((damaged / "Train_Sets/MR/1/T2SPIR/DICOM_anon").iterdir())[3].unlink()
        shutil.rmtree(damaged / "Train_Sets/MR/2/T2SPIR/Ground")
        return damaged

    def run_bundle(self, stage: str, **keys: Any) -> str:
        command = ["monai.bundle", "run", "--bundle_root", str(BUNDLE)]
        command += ["--config_file", str(BUNDLE / "configs" / f"{stage}.yaml")]
        for key, value in keys.items():
            command += [f"--{key}", str(value)]
        finished = run_python(*command)
        assert finished.returncode != 0
        assert "Traceback" not in finished.stderr
        assert finished.stderr.count("error: ") == 1
        return finished.stderr[finished.stderr.index("error: ") :]

    def test_a_damaged_dataset_with_all_its_issues_by_the_command_line(self, damaged, tmp_path):
        message = self.run_bundle("train", dataset_dir=damaged, output_dir=tmp_path / "run")
        for part in ("CHAOS", "MR/1/T2SPIR: 5 slices", "1 slice is missing", "MR/2/T2SPIR/Ground: no such folder"):
            assert part in message

    @pytest.mark.parametrize("stage", ["finetune_teacher", "train_diffusion", "distill", "train", "evaluate"])
    def test_a_damaged_dataset_by_every_stage(self, damaged, tmp_path, stage):
        with refused(r"CHAOS in .*: 3 issues", "MR/1/T2SPIR: 5 slices"):
            load_stage(stage, dataset_dir=damaged, output_dir=tmp_path).initialize()

    @pytest.mark.parametrize("stage", ["finetune_teacher", "train_diffusion", "distill", "train", "evaluate"])
    def test_an_unknown_modality_by_every_stage(self, phantoms, tmp_path, stage):
        with refused("modality: expected ct, t1_in, t1_out, t2, got 'mr'"):
            load_stage(stage, dataset_dir=phantoms, output_dir=tmp_path, modality="mr").initialize()

    def test_the_student_of_another_modality(self, pipeline_run, tmp_path):
        keys = {"dataset_dir": pipeline_run.dataset_dir, "ckpt_path": pipeline_run.output_dir / "model.pt"}
        with refused("another architecture", "head"):
            run_stage("inference", output_dir=tmp_path, modality="ct", student_def=STUDENT, **keys)

    def test_a_folder_without_volumes(self, bright_detector, tmp_path):
        (tmp_path / "nothing").mkdir()
        with refused("nothing holds no readable volume; expected a folder of DICOM slices, a NIfTI file"):
            run_stage("inference", dataset_dir=tmp_path / "nothing", output_dir=tmp_path, **bright_detector)


class TestAlone(AloneTests):
    @pytest.fixture
    def images(self, phantoms) -> Path:
        return phantoms / "Test_Sets/MR/4/T2SPIR/DICOM_anon"
