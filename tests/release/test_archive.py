"""What is too large for the Zoo is listed, and nothing is replaced but a release as it was written."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml
from integration import refused
from monai.apps.utils import HashCheckError
from monai.bundle import download_large_files
from students import files_of, package_of, write_student

from common.release import archive


@pytest.fixture
def weights(tmp_path) -> Path:
    return write_student("drive", tmp_path / "run")


def rewrite(archive: Path, changes: dict[str, bytes]) -> None:
    """Change an archive as a program does that keeps its comment."""
    with zipfile.ZipFile(archive) as opened:
        content, comment = {name: opened.read(name) for name in opened.namelist()}, opened.comment
    with zipfile.ZipFile(archive, "w") as changed:
        for name, data in {**content, **changes}.items():
            changed.writestr(name, data)
        changed.comment = comment
    assert comment


class TestWhatIsThereAlready:
    @pytest.fixture
    def weights(self, tmp_path) -> Path:
        return write_student("drive", tmp_path / "run")

    def test_a_release_that_nobody_changed_is_replaced(self, weights, release, tmp_path):
        release("drive", weights)
        folder = release("drive", weights, version="0.2.0", changes="better")
        assert json.loads((folder / "configs" / "metadata.json").read_text())["version"] == "0.2.0"
        with zipfile.ZipFile(folder.with_suffix(".zip")) as opened:
            metadata = json.loads(opened.read("drive_segmentation/configs/metadata.json"))
        assert metadata["version"] == "0.2.0"

    def test_what_python_leaves_in_a_release_that_was_run_does_not_matter(self, weights, release):
        folder = release("drive", weights)
        (package_of(folder) / "__pycache__").mkdir()
        (package_of(folder) / "__pycache__" / "logs.pyc").write_bytes(b"")
        release("drive", weights)
        assert not (package_of(folder) / "__pycache__").exists()

    @pytest.mark.parametrize(
        ("kind", "reason"),
        [("a bomb", "it unpacks to 1"), ("a way out", "not as a release has written it"), ("a password", "encrypted")],
    )
    def test_an_archive_of_somebody_else_is_kept_and_not_unpacked(self, kind, reason, weights, release, tmp_path):
        archive = release("drive", weights).with_suffix(".zip")
        with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr(
                "../../outside" if kind == "a way out" else "zeros", bytes(10**8 if kind == "a bomb" else 9)
            )
        if kind == "a password":
            content = bytearray(archive.read_bytes())
            content[content.rindex(b"PK\x01\x02") + 8] |= 1  # the flag of the last member in the list of members
            archive.write_bytes(content)
        before = archive.read_bytes()
        with refused(f"{archive.name} exists", reason):
            release("drive", weights)
        assert archive.read_bytes() == before
        assert not list(tmp_path.rglob("outside"))

    @pytest.mark.parametrize("name", ["models/model.pt", "configs/train.yaml", "notes.txt"])
    def test_a_release_that_somebody_changed_is_kept(self, name, weights, release):
        folder = release("drive", weights)
        (folder / name).write_text("hours of work")
        before = files_of(folder.parent)
        with refused(re.escape(name), "not overwritten"):
            release("drive", weights)
        assert files_of(folder.parent) == before

    @pytest.mark.parametrize("zipped", ["afresh", "into the archive"])
    def test_a_release_that_somebody_changed_and_zipped_again_is_kept(self, zipped, weights, release):
        """As after fine-tuning in it, so that folder and archive agree."""
        folder = release("drive", weights)
        archive = folder.with_suffix(".zip")
        (folder / "models" / "model.pt").write_bytes(b"hours of work")
        if zipped == "afresh":
            archive.unlink()
            shutil.make_archive(str(folder), "zip", folder.parent, folder.name)
        else:
            rewrite(archive, {"drive_segmentation/models/model.pt": b"hours of work"})
        before = files_of(folder.parent)
        with refused("drive_segmentation.zip exists, and is not as a release has written it", "move it away"):
            release("drive", weights)
        assert files_of(folder.parent) == before

    def test_an_archive_that_somebody_added_to_is_kept(self, weights, release):
        folder = release("drive", weights)
        shutil.rmtree(folder)
        rewrite(folder.with_suffix(".zip"), {"drive_segmentation/notes.txt": b"hours of work"})
        before = files_of(folder.parent)
        with refused("not as a release has written it"):
            release("drive", weights)
        assert files_of(folder.parent) == before

    def test_an_archive_without_its_folder_is_replaced(self, weights, release):
        folder = release("drive", weights)
        shutil.rmtree(folder)
        assert release("drive", weights).is_dir()

    def test_a_link_that_somebody_laid_is_kept(self, weights, release, tmp_path):
        folder = release("drive", weights)
        (folder / "runs").symlink_to(tmp_path)
        with refused("drive_segmentation/runs is not in an earlier release"):
            release("drive", weights)
        assert (folder / "runs").is_symlink()

    def test_another_folder_of_that_name_is_kept(self, weights, release, tmp_path):
        (tmp_path / "dist" / "drive_segmentation").mkdir(parents=True)
        (tmp_path / "dist" / "drive_segmentation" / "thesis.tex").write_text("chapter one")
        with refused("thesis.tex", "not overwritten"):
            release("drive", weights)
        assert files_of(tmp_path / "dist") == {"drive_segmentation/thesis.tex": b"chapter one"}

    @pytest.mark.parametrize("kind", ["text", "zip"])
    def test_another_archive_of_that_name_is_kept(self, kind, weights, release, tmp_path):
        path = tmp_path / "dist" / "drive_segmentation.zip"
        path.parent.mkdir()
        path.write_text("not a release")
        if kind == "zip":
            with zipfile.ZipFile(path, "w") as other:
                other.writestr("photographs/1.png", b"")
        before = path.read_bytes()
        with refused("is no release"):
            release("drive", weights)
        assert files_of(tmp_path / "dist") == {path.name: before}

    def test_a_file_in_the_place_of_the_folder_is_kept(self, weights, release, tmp_path):
        (tmp_path / "dist").mkdir()
        (tmp_path / "dist" / "drive_segmentation").write_text("a file")
        with refused("is no folder"):
            release("drive", weights)

    def test_a_release_that_fails_leaves_the_earlier_one(self, weights, release, monkeypatch):
        folder = release("drive", weights)
        before = files_of(folder.parent)

        def fail(*arguments) -> None:
            raise OSError("no space left")

        monkeypatch.setattr("common.release.write_modules", fail)
        with pytest.raises(OSError, match="no space left"):
            release("drive", weights, version="0.2.0", changes="better")
        assert files_of(folder.parent) == before


class TestLargeFiles:
    @pytest.fixture(autouse=True)
    def _a_lower_limit(self, monkeypatch):
        monkeypatch.setattr(archive, "_LIMIT", 20_000)

    @pytest.fixture
    def weights(self, tmp_path) -> Path:
        weights = write_student("drive", tmp_path / "run")
        assert weights.stat().st_size > 20_000
        return weights

    def test_they_are_listed_with_their_hashes(self, weights, release):
        folder = release("drive", weights, url="https://example.org/students/")
        entries = yaml.safe_load((folder / "large_files.yml").read_text())["large_files"]
        listed = {entry["path"]: entry for entry in entries}
        assert listed["models/model.pt"]["url"] == "https://example.org/students/model.pt"
        assert listed["models/model.pt"]["hash_type"] == "sha256"
        assert (folder / "models" / "model.pt").is_file()

    def test_monai_takes_the_list(self, weights, release):
        """As ``monai.bundle download_large_files`` reads it; the file is there, so that only its hash counts."""
        folder = release("drive", weights, url="https://example.org/students")
        listed = yaml.safe_load((folder / "large_files.yml").read_text())["large_files"]
        download_large_files(str(folder))
        (folder / listed[0]["path"]).write_bytes(b"another file")
        with pytest.raises(HashCheckError, match=Path(listed[0]["path"]).name):
            download_large_files(str(folder))

    def test_where_they_will_be_must_be_said(self, weights, release, tmp_path):
        with refused("models/model.pt", "larger than 25 MB", "--url"):
            release("drive", weights)
        assert list((tmp_path / "dist").iterdir()) == []

    def test_there_is_no_list_of_nothing(self, weights, release, monkeypatch):
        monkeypatch.setattr(archive, "_LIMIT", 25_000_000)
        assert not (release("drive", weights) / "large_files.yml").exists()
