"""What lies in the output folder already: what is not predict's stays, what is old is not taken for new."""

from __future__ import annotations

import csv
import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from integration import environment, refused
from PIL import Image
from tiny_onnx import FACTS, write_onnx

from common.files import locks
from common.prediction.predict import predict

# A run that is stopped in the middle of its second mask.
STUCK = """
import signal, sys, time
from PIL import Image

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts tests in the background has it ignored
save, count = Image.Image.save, 0

def stick(self, path, **options):
    global count
    count += 1
    if count == 2:
        path.write_bytes(b"half")
        print("stuck", flush=True)
        time.sleep(600)  # until the test ends it
    save(self, path, **options)

Image.Image.save = stick
from common.__main__ import main
main()
"""


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(["a.png", "b.jpg", "more/c.png"]):
        Image.fromarray(np.full((20, 30 + number, 3), (250, 20, 20), np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def weights(tmp_path) -> Path:
    return write_onnx(tmp_path / "model.onnx")


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def names(folder: Path) -> list[str]:
    """Return the results in a folder, and what is half-written there."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "logs"]
    return sorted(path.relative_to(folder).as_posix() for path in files if path.name != locks.LOCK_NAME)


@contextmanager
def stuck_run(photos: Path, weights: Path, out: Path) -> Iterator[subprocess.Popen]:
    """Start a run, with a table, in a process of its own, and wait until it is in the middle of writing a mask."""
    words = ["predict", str(photos), "--weights", str(weights), "--output_dir", str(out), "--table"]
    command = [sys.executable, "-c", STUCK, *words]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout.readline() == "stuck\n"
            yield run
        finally:
            run.kill()


class TestOneRunAtATime:
    def test_a_second_run_is_refused_and_one_that_is_ended_leaves_whole_masks_alone(
        self, photos, weights, out, monkeypatch
    ):
        predict(photos / "more", weights, out, table=True)
        with stuck_run(photos, weights, out) as run:
            monkeypatch.setattr(locks, "PATIENCE", 0.1)
            with refused(f"output_dir: another run is writing to {out}"):
                predict(photos, weights, out, table=True)
            run.send_signal(signal.SIGTERM)
            _, said = run.communicate(timeout=300)
        assert run.returncode == 143
        assert "ended by SIGTERM" in said
        assert "1 file of an earlier predict in" in said, "what is left of the run before"
        assert names(out) == ["a_mask.png", "c_mask.png"], "no half of a mask, and no table of other masks"
        assert (np.asarray(Image.open(out / "a_mask.png")) == 1).all()

    def test_ctrl_c_is_the_same_and_the_next_run_does_all(self, photos, weights, out, capsys):
        with stuck_run(photos, weights, out) as run:
            run.send_signal(signal.SIGINT)
            run.communicate(timeout=300)
        assert run.returncode not in (0, None)
        assert names(out) == ["a_mask.png"]
        predict(photos, weights, out, table=True)
        assert names(out) == ["a_mask.png", "b_mask.png", "more/c_mask.png", "predictions.csv"]
        assert capsys.readouterr().out.splitlines()[-1] == f"3 masks written to {out}"

    def test_after_a_kill_its_own_masks_are_known(self, photos, weights, out):
        with stuck_run(photos, weights, out) as run:
            run.kill()
            run.wait(timeout=300)
        assert len(names(out)) == 2, "a mask, and the half of one"
        predict(photos, weights, out)
        assert names(out) == ["a_mask.png", "b_mask.png", "more/c_mask.png"]


class TestWhatIsNotPredicts:
    @pytest.mark.parametrize("name", ["a_mask.png", "a_overlay.png", "a_probabilities.npz", "predictions.csv"])
    def test_it_is_not_replaced(self, photos, weights, out, name):
        out.mkdir()
        (out / name).write_bytes(b"somebody's")
        with refused(f"--output_dir {out}: {name} is there already", "choose another --output_dir"):
            predict(photos, weights, out, overlays=True, probabilities=True, table=True)
        assert (out / name).read_bytes() == b"somebody's"
        assert names(out) == [name], "nothing else was written"

    def test_labels_beside_their_images_are_not_replaced_or_called_masks_of_an_inference(self, photos, weights, caplog):
        label = Image.new("L", (30, 20), 1)
        label.save(photos / "a_mask.png")
        before = hashlib.sha256((photos / "a_mask.png").read_bytes()).digest()
        with refused("a_mask.png is there already, and not as predict wrote it, such as a label"):
            predict(photos, weights, photos)
        with caplog.at_level("INFO"):
            predict(photos, weights, photos / "masks")
        assert hashlib.sha256((photos / "a_mask.png").read_bytes()).digest() == before
        assert "inference" not in caplog.text
        assert "1 file named as masks or overlays, such as a_mask.png" in caplog.text

    def test_masks_among_the_images_are_said_and_what_predict_keeps_for_itself_is_not(
        self, photos, weights, out, caplog
    ):
        with caplog.at_level("INFO"):
            predict(photos, weights, out)
            assert "among the images" not in caplog.text
            predict(photos, weights, photos)
            caplog.clear()
            predict(photos, weights, photos)
        assert f"masks are written among the images in {photos}, as a_mask.png" in caplog.text
        assert "passed over" in caplog.text
        assert "not to be segmented" not in caplog.text

    def test_a_mask_that_was_corrected_by_hand_is_not_replaced(self, photos, weights, out):
        predict(photos, weights, out)
        Image.new("L", (30, 20), 2).save(out / "a_mask.png")
        Image.new("L", (32, 20), 2).save(out / "more" / "c_mask.png")
        with refused("a_mask.png and 1 more are there already"):
            predict(photos, weights, out)
        assert np.asarray(Image.open(out / "a_mask.png")).max() == 2

    def test_a_link_is_not_replaced(self, photos, weights, out, tmp_path):
        out.mkdir()
        (out / "a_mask.png").symlink_to(tmp_path / "elsewhere.png")
        with refused("a_mask.png is there already"):
            predict(photos, weights, out)

    def test_what_is_not_going_to_be_written_may_be_there(self, photos, weights, out):
        out.mkdir()
        for name in ("a_overlay.png", "predictions.csv", "d_mask.png"):
            (out / name).write_bytes(b"somebody's")
        predict(photos, weights, out)
        assert {(out / name).read_bytes() for name in ("a_overlay.png", "predictions.csv")} == {b"somebody's"}


class TestWhatIsOfAnEarlierRun:
    def test_the_same_again_replaces_it_without_a_word(self, photos, weights, out, caplog):
        for _ in range(2):
            predict(photos, weights, out, overlays=True, table=True)
        assert "earlier" not in caplog.text

    def test_other_weights_replace_it(self, photos, weights, out):
        predict(photos, weights, out)
        facts = {**FACTS, "classes": ["background", "wound"]}
        predict(photos, write_onnx(weights, facts), out, palette=True)
        predict(photos, weights, out)

    @pytest.mark.parametrize(
        ("options", "left"),
        [
            (
                {"format": "nifti"},
                "3 files of an earlier predict in {out} are not of this run: a_mask.nii.gz, b_",
            ),
            ({"table": True}, "1 file of an earlier predict in {out} is not of this run: predictions.csv"),
            ({"overlays": True, "probabilities": True}, "6 files of an earlier predict in {out} are not of this run"),
        ],
    )
    def test_what_is_left_of_other_options_is_named(self, photos, weights, out, caplog, options, left):
        predict(photos, weights, out, **options)
        assert not caplog.records
        predict(photos, weights, out)
        assert sum("of an earlier predict" in each for each in caplog.messages) == 1
        assert left.format(out=out) in caplog.text

    def test_what_is_left_of_other_images_is_named_also_of_one_that_can_no_longer_be_read(
        self, photos, weights, out, caplog
    ):
        predict(photos, weights, out)
        (photos / "a.png").write_bytes(b"no picture")
        (photos / "b.jpg").unlink()
        with refused("1 mask written .*, 1 left out: a.png"):
            predict(photos, weights, out)
        assert f"2 files of an earlier predict in {out} are not of this run: a_mask.png, b_mask.png" in caplog.messages

    def test_a_record_that_was_cut_off_loses_no_other_line(self, photos, weights, out):
        predict(photos, weights, out)
        record = out / "logs" / "predict.jsonl"
        record.write_text(record.read_text(encoding="ascii") + '\n["0a1b', encoding="ascii")
        predict(photos, weights, out, overlays=True)
        predict(photos, weights, out, overlays=True)

    def test_any_name_is_remembered_and_in_the_table(self, photos, weights, out):
        for name in ("zwei\nZeilen", "ä 'b' \"c\"", "back\\slash", "\udcff", "\u2028"):
            (photos / "a.png").rename(photos / f"{name}.png")
            for _ in range(2):
                predict(photos / f"{name}.png", weights, out, table=True)
            with (out / "predictions.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                (row,) = csv.DictReader(file)
            assert (row["image"], row["mask"]) == (f"{name}.png", f"{name}_mask.png")
            (photos / f"{name}.png").rename(photos / "a.png")

    def test_what_is_left_out_is_named_in_one_line(self, photos, weights, out):
        (photos / "zwei\nZeilen.png").write_bytes(b"no picture")
        with refused(r"3 masks written to .*, 1 left out: zwei\\nZeilen.png \("):
            predict(photos, weights, out)
