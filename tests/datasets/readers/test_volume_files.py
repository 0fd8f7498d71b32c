"""A user's own volumes: what is found, what is left out, and what results are called."""

import shutil

import nibabel
import numpy as np
import pytest
from dicom_slices import edit
from monai.transforms import LoadImage, SaveImage
from PIL import Image

from common.datasets.readers.nifti import read_volume
from common.datasets.readers.volume_files import VolumeFiles, find_slices, name_result, stated_modality
from common.datasets.readers.volumes import VolumeReader
from common.errors import InputError


@pytest.fixture(scope="module")
def pristine(tiny_phantoms):
    return tiny_phantoms("chaos")


@pytest.fixture
def folder(pristine, tmp_path):
    """Two DICOM folders, one of them deep, and two NIfTI files."""
    shutil.copytree(pristine / "Test_Sets/CT/3", tmp_path / "mine" / "patient10")
    shutil.copytree(pristine / "Train_Sets/CT/1/DICOM_anon", tmp_path / "mine" / "patient9")
    for name in ("a.nii.gz", "b.nii"):
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)), tmp_path / "mine" / name)
    (tmp_path / "mine" / "notes.txt").write_text("x")
    return tmp_path / "mine"


def names(volumes, folder):
    return [str(entry["image"]).removeprefix(f"{folder}/") for entry in volumes.entries]


def test_dicom_folders_and_nifti_files_are_found_at_any_depth(folder):
    volumes = VolumeFiles(folder)
    assert sorted(names(volumes, folder)) == ["a.nii.gz", "b.nii", "patient10/DICOM_anon", "patient9"]
    assert volumes.root == VolumeFiles.root_of(folder) == folder
    assert volumes.passed_over == [folder / "notes.txt"]
    assert not volumes.left_out


@pytest.mark.parametrize("name", ["a.nii.gz", "patient9"])
def test_one_volume_can_be_given_by_itself(folder, name):
    volumes = VolumeFiles(folder / name)
    assert names(volumes, folder) == [name]
    assert volumes.root == VolumeFiles.root_of(folder / name) == folder


def test_slices_beside_other_volumes_have_a_result_in_the_output_folder_too(folder):
    shutil.copytree(folder / "patient9", folder, dirs_exist_ok=True)
    volumes = VolumeFiles(folder)
    assert folder in volumes.found
    assert volumes.root == VolumeFiles.root_of(folder) == folder.parent


def test_results_at_a_server_are_named_relative_to_a_folder_that_need_not_exist(tmp_path):
    assert VolumeFiles.root_of(tmp_path / "nowhere") == tmp_path / "nowhere"


def test_other_images_are_left_out_with_the_reason(folder):
    Image.new("L", (9, 9)).save(folder / "patient9" / "preview.jpg")
    for name in ("c.nrrd", "d.mha", "e.mgz", "f.img", "f.hdr"):
        (folder / name).write_bytes(b"any")
    volumes = VolumeFiles(folder)
    assert [volumes.short(path) for path in volumes.left_out] == [
        *("c.nrrd", "d.mha", "e.mgz", "f.hdr", "f.img", "patient9/preview.jpg")
    ]
    assert "c.nrrd: is a NRRD volume; expected DICOM slices or NIfTI (.nii, .nii.gz)" in str(volumes.left_out)


def test_labels_of_chaos_are_no_inputs(pristine):
    volumes = VolumeFiles(pristine / "Train_Sets/CT/1")
    assert [volumes.short(path) for path in volumes.found] == ["DICOM_anon"]
    assert len(volumes.passed_over) == 8
    assert not volumes.left_out


def test_labels_of_an_earlier_inference_are_no_inputs(folder):
    for name in ("b_mask.nii.gz", "out/a_mask.nii.gz", "patient9_mask.nii.gz"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "a.nii.gz", folder / name)
    (folder / "out" / "logs").mkdir()
    (folder / "out" / "logs" / "inference.log").touch()
    volumes = VolumeFiles(folder)
    assert len(volumes.found) == 4
    assert len(volumes.earlier_masks) == 3


def test_damaged_volumes_are_left_out_and_named_with_the_reason(folder):
    next((folder / "patient9").iterdir()).write_bytes(b"")
    (folder / "a.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:60])
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5)), np.eye(4)), folder / "flat.nii")
    (folder / "zero.nii").write_bytes(b"")
    holed = np.ones((4, 5, 6), np.float32)
    holed[0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(holed, np.eye(4)), folder / "holed.nii")
    colours = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), folder / "colours.nii")
    volumes = VolumeFiles(folder)
    volumes.check_all()
    assert names(volumes, folder) == ["b.nii", "patient10/DICOM_anon"]
    reasons = {volumes.short(path): reason for path, reason in volumes.left_out.items()}
    for name, part in {
        "patient9": "the file is empty",
        "a.nii.gz": "a.nii.gz: cannot be read as a NIfTI file",
        "flat.nii": "got shape (4, 5)",
        "zero.nii": "the file is empty",
        "holed.nii": "holed.nii: 6 voxels are NaN or infinite",
        "colours.nii": "colours.nii: has values of type",
    }.items():
        assert part in reasons.pop(name)
    assert not reasons
    with pytest.raises(InputError, match="6 voxels are NaN or infinite"):
        read_volume(folder / "holed.nii")


def test_what_is_doubtful_about_the_geometry_is_a_remark(folder):
    image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header["pixdim"][1:4] = (1, 1, 7)
    nibabel.save(image, folder / "doubtful.nii")
    volumes = VolumeFiles(folder)
    [remark] = volumes.remarks(volumes.found)
    assert remark.startswith(f"{folder / 'doubtful.nii'}: ")


def test_a_series_of_another_modality_than_the_student_learned_is_a_remark(folder):
    volumes = VolumeFiles(folder, dicom_modality="MR")
    remarks = volumes.remarks([folder / "patient9"])
    assert remarks == [
        f"{folder / 'patient9'}: is of modality CT by its DICOM headers, but the student has learned MR: its mask "
        "means nothing unless the headers are wrong"
    ]
    assert not VolumeFiles(folder, dicom_modality="CT").remarks([folder / "patient9"])
    assert not VolumeFiles(folder).remarks([folder / "patient9"])
    for file in (folder / "patient9").iterdir():
        edit(file, removed=["Modality"])
    assert not volumes.remarks([folder / "patient9"]), "who does not say is believed"


class TestStatedModality:
    def test_that_of_folders_of_slices_and_of_single_ones(self, folder):
        slices = sorted((folder / "patient9").iterdir())
        assert stated_modality([{"image": str(folder / "patient9")}, {"image": str(slices[0])}]) == "CT"

    def test_that_of_several_folders_which_disagree_is_not_known(self, folder):
        for path in (folder / "patient9").iterdir():
            edit(path, Modality="MR")
        entries = [{"image": str(folder / name)} for name in ("patient9", "patient10/DICOM_anon")]
        assert [stated_modality(entries), *(stated_modality([entry]) for entry in entries)] == [None, "MR", "CT"]

    def test_what_is_no_dicom_states_none(self, folder):
        assert stated_modality([{"image": str(folder / "a.nii.gz"), "slice": 0}, {"image": np.zeros(3)}]) is None
        assert stated_modality([]) is None


def test_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        VolumeFiles(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no readable volume; expected a folder of DICOM slices, a NIfTI file"):
        VolumeFiles(tmp_path)


def test_volumes_whose_results_would_overwrite_each_other_are_refused(folder):
    shutil.copy(folder / "b.nii", folder / "a.nii")
    with pytest.raises(InputError, match=r"mine holds several volumes named a; rename"):
        VolumeFiles(folder)


def test_results_of_folders_whose_names_have_dots_are_kept_apart(pristine, tmp_path):
    names = ["1.2.840.1", "1.2.840.2", "b.c.nii.gz", "d.nii"]
    for name in names[:2]:
        shutil.copytree(pristine / "Train_Sets/CT/1/DICOM_anon", tmp_path / "mine" / name)
    for name in names[2:]:
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)), tmp_path / "mine" / name)
    save = SaveImage(
        tmp_path / "masks",
        "mask",
        separate_folder=False,
        data_root_dir=tmp_path / "mine",
        output_name_formatter=name_result,
        print_log=False,
    )
    for entry in VolumeFiles(tmp_path / "mine").entries:
        save(LoadImage(reader=VolumeReader, ensure_channel_first=True)(entry["image"]))
    written = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert written == ["1.2.840.1_mask.nii.gz", "1.2.840.2_mask.nii.gz", "b.c_mask.nii.gz", "d_mask.nii.gz"]


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "SCAN.NII.GZ", "scan.of.today.nii.gz"])
def test_results_of_nifti_files_have_the_name_without_its_suffix(name, tmp_path):
    assert name_result({"filename_or_obj": str(tmp_path / name)}, None) == {
        "subject": str(tmp_path / f"{name[: name.lower().index('.nii')]}.nii")
    }


def test_slices_are_found_at_any_depth(folder):
    found = [entry["image"] for entry in find_slices(folder)]
    expected = [*(folder / "patient9").iterdir(), *(folder / "patient10/DICOM_anon").iterdir()]
    assert sorted(found) == sorted(map(str, expected))
    assert len(found) == 16


def test_other_images_beside_slices_are_named(folder, caplog):
    find_slices(folder)
    assert "2 images are no DICOM slices and are not used, first" in caplog.text


def test_slice_that_cannot_be_read_is_named(folder):
    (folder / "patient9" / "broken.dcm").write_bytes(b"")
    with pytest.raises(InputError, match=r"broken\.dcm: the file is empty"):
        find_slices(folder)


@pytest.mark.parametrize("name", [".", "nowhere"])
def test_folder_without_slices_is_named(tmp_path, name):
    with pytest.raises(InputError, match="no DICOM slices here or in a subfolder"):
        find_slices(tmp_path / name)
