"""A release of a bundle for one's own images names neither their folder nor any other of whoever made it."""

from __future__ import annotations

import zipfile

from students import PROVENANCE, write_student

from common.creation.create import create_bundle
from common.datasets.folder import FolderDataset


def test_no_file_names_a_folder_of_its_maker_or_shows_an_image(release, tmp_path):
    home = tmp_path / "home of jane"
    source = {"images": "photos", "labels": "masks", "classes": ["background", "lesion"], "label_format": "black_white"}
    FolderDataset.write_phantoms(home / "data", source=source, num_images=6, image_size=(60, 72))
    (home / "weights").mkdir()
    bundle = create_bundle(
        "moles",
        home,
        images=home / "data" / "photos",
        labels=home / "data" / "masks",
        classes="background,lesion",
        pretrained=home / "weights",
    )
    weights = write_student("ph2", home / "run", provenance=PROVENANCE)
    assert str(home) in (bundle / "configs" / "train.yaml").read_text()
    folder = release("ph2", weights, bundle=bundle)
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert "configs/train.yaml" in names
    assert not {"docs/labels.png", "docs/facts.yaml"} & set(names)
    for name in names:
        assert b"home of jane" not in (folder / name).read_bytes(), name
    with zipfile.ZipFile(folder.with_suffix(".zip")) as archive:
        assert sorted(archive.namelist()) == sorted(f"{folder.name}/{name}" for name in names)
