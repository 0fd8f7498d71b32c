"""Phantoms of BUSI: layout and formats, and what ultrasound of the breast looks like."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from common.datasets.phantoms.busi import write_phantoms
from common.errors import InputError

SIZE = (96, 120)
IMAGES = "Dataset_BUSI_with_GT"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "BUSI", (9, 5, 3), SIZE) / IMAGES


def read(path):
    return np.asarray(Image.open(path).convert("L"))


def cases(folder, kind):
    """Return the images of a kind with their masks united."""
    for image in sorted(folder.glob(f"{kind}/*).png")):
        yield read(image).astype(float), np.any([read(mask) > 127 for mask in folder_masks(image)], axis=0)


def folder_masks(image):
    return sorted(image.parent.glob(f"{image.stem}_mask*.png"))


def test_phantoms_have_the_layout_and_formats_of_busi(pristine):
    counts = {"benign": 9, "malignant": 5, "normal": 3}
    images = {f"{kind}/{kind} ({number}).png" for kind, count in counts.items() for number in range(1, count + 1)}
    masks = {name.replace(").png", ")_mask.png") for name in images} | {"benign/benign (4)_mask_1.png"}
    assert {path.relative_to(pristine).as_posix() for path in pristine.rglob("*.*")} == images | masks
    assert {Image.open(pristine / name).mode for name in images} == {"RGB"}
    modes = Counter((Image.open(pristine / name).mode, name.startswith("normal")) for name in masks)
    assert modes == {("1", False): 14, ("RGBA", False): 1, ("RGB", True): 3}
    assert len({Image.open(pristine / name).size for name in images}) > 10
    for name in images:
        sizes = {Image.open(path).size for path in (pristine / name, *folder_masks(pristine / name))}
        assert len(sizes) == 1


def test_normal_breasts_have_no_lesion_and_all_others_have(pristine):
    for kind, expected in (("benign", True), ("malignant", True), ("normal", False)):
        assert {bool(mask.any()) for _, mask in cases(pristine, kind)} == {expected}


def test_two_lesions_of_one_image_lie_apart(pristine):
    first, second = (read(path) > 127 for path in folder_masks(pristine / "benign" / "benign (4).png"))
    assert first.any()
    assert second.any()
    assert not (binary_dilation(first, iterations=2) & second).any()


def test_lesions_are_darker_than_the_tissue_around_them(pristine):
    for kind in ("benign", "malignant"):
        for image, lesion in cases(pristine, kind):
            ring = binary_dilation(lesion, iterations=8) & ~binary_dilation(lesion, iterations=3)
            assert image[lesion].mean() < 0.85 * image[ring].mean()


def test_malignant_lesions_cast_a_shadow_and_benign_ones_do_not(pristine):
    ratios = {}
    for kind in ("benign", "malignant"):
        ratios[kind] = []
        for image, lesion in cases(pristine, kind):
            lowest = np.flatnonzero(lesion.any(1)).max()
            below = image[lowest + 3 : lowest + 3 + len(image) // 8]
            columns = lesion.any(0)
            ratios[kind].append(below[:, columns].mean() / below[:, ~columns].mean())
    assert np.median(ratios["malignant"]) < 0.85
    assert np.median(ratios["benign"]) > 1


def test_lesions_are_asymmetric(pristine):
    """A flip or a turn that is applied to the image alone must not go unnoticed."""
    for _, lesion in (*cases(pristine, "benign"), *cases(pristine, "malignant")):
        for flipped in (lesion[::-1], lesion[::-1, ::-1]):
            assert (lesion != flipped).sum() > 0.1 * lesion.sum()


def test_same_seed_writes_the_same_pixels_and_another_seed_others(pristine, tmp_path):
    again = write_phantoms(tmp_path / "again", (1, 0, 0), SIZE) / IMAGES
    other = write_phantoms(tmp_path / "other", (1, 0, 0), SIZE, seed=1) / IMAGES
    for name in ("benign (1).png", "benign (1)_mask.png"):
        expected = (pristine / "benign" / name).read_bytes()
        assert (again / "benign" / name).read_bytes() == expected
        assert (other / "benign" / name).read_bytes() != expected


def test_existing_dataset_is_not_overwritten_by_phantoms(pristine):
    with pytest.raises(InputError, match="exists already"):
        write_phantoms(pristine.parent, (1, 0, 0), SIZE)
