"""What a release consists of, and what is refused before anything is written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from integration import environment, refused, run_python, run_stage
from monai.data import load_net_with_metadata
from students import (
    IMAGE_SIZE,
    NAMES,
    PLAIN_STUDENT,
    PROVENANCE,
    bundle_of,
    change_json,
    files_of,
    package_of,
    write_student,
)

from common.files.provenance import read_provenance
from common.prediction.student import open_student
from common.release import exports, release_bundle
from common.release.configs import source_config


def network_of(weights: Path) -> torch.nn.Module:
    parser = source_config(bundle_of("drive") / "configs", "inference", {"student_def": dict(PLAIN_STUDENT)})
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


class TestContents:
    def test_everything_that_a_bundle_needs_is_there(self, released):
        assert {name for name in files_of(released) if not name.startswith("scripts_")} == {
            *(f"configs/{name}.yaml" for name in ("inference", "train", "evaluate", "cpu")),
            *(f"configs/{name}.yaml" for name in ("multi_gpu", "multi_gpu_train")),
            *(f"configs/{name}" for name in ("inference.json", "train.json", "metadata.json", "logging.conf")),
            *("models/model.pt", "models/model.ts", "models/model.onnx", "models/model.provenance.json"),
            *("README.md", "docs/README.md", "docs/data_license.txt", "LICENSE"),
        }

    def test_it_keeps_the_rules_of_the_model_zoo(self, released):
        script = Path(__file__).parents[2] / "ci" / "verify_bundle.py"
        done = subprocess.run([sys.executable, str(script), str(released)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_weights_are_those_that_were_given_with_their_provenance(self, released, student_folder):
        for name in ("model.pt", "model.provenance.json"):
            assert (released / "models" / name).read_bytes() == (student_folder / name).read_bytes()
        assert read_provenance(released / "models" / "model.pt") == PROVENANCE

    def test_without_provenance_there_is_none(self, release, tmp_path):
        folder = release("drive", write_student("drive", tmp_path / "run"))
        assert not (folder / "models" / "model.provenance.json").exists()

    def test_nothing_names_this_repository_or_where_it_was_made(self, released, student_folder):
        repository = re.escape(str(Path(__file__).parents[2])).encode()
        here = re.compile(rb"\bcommon[./]\w|bundles/|/home/|/tmp/|/root/|site-packages|test_release|" + repository)
        for name, content in files_of(released).items():
            assert not here.search(content), name
        with zipfile.ZipFile(released / "models" / "model.ts") as script:
            for name in script.namelist():
                assert not here.search(name.encode() + b" " + script.read(name)), name

    def test_no_module_of_the_teacher_or_of_phantoms_comes_along(self, released):
        modules = {path.stem for path in package_of(released).rglob("*.py")}
        assert {"vit", "drive", "resuming", "provenance"} <= modules
        left_behind = {"sam", "lora", "sampling", "fundus", "scenes", "terms", "run", "evidence", "student_or_teacher"}
        assert modules & left_behind == set()

    def test_the_archive_holds_the_folder(self, released):
        with zipfile.ZipFile(released.with_suffix(".zip")) as opened:
            content = {name: opened.read(name) for name in opened.namelist()}
        assert content == {f"drive_segmentation/{name}": data for name, data in files_of(released).items()}

    def test_a_source_is_not_changed(self, student_folder, release):
        before = files_of(bundle_of("drive") / "configs") | files_of(student_folder)
        release("drive", student_folder / "model.pt")
        assert files_of(bundle_of("drive") / "configs") | files_of(student_folder) == before


class TestEvaluation:
    def test_a_release_is_evaluated_as_its_source_is(self, released, student_folder, tiny_phantoms, tmp_path):
        """Where SciPy is installed; ci/test_release.sh looks at where it is not."""
        places = {"dataset_dir": str(tiny_phantoms("drive")), "ckpt_path": str(student_folder / "model.pt")}
        settings = [item for key, value in places.items() for item in (f"--{key}", value)]
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "monai.bundle",
            "run",
            "--config_file",
            "configs/evaluate.yaml",
        ]
        command += [*settings, "--output_dir", str(tmp_path / "there")]
        shutil.copytree(released, tmp_path / "copy")
        done = subprocess.run(
            command, cwd=tmp_path / "copy", env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        run_stage(
            *("evaluate", (), bundle_of("drive")),
            **{**places, "output_dir": tmp_path / "here", "crop_size": IMAGE_SIZE, "student_def": PLAIN_STUDENT},
            device="cpu",
        )
        here, there = (
            json.loads((tmp_path / name / "evaluation" / "student" / "summary.json").read_text())
            for name in ("here", "there")
        )
        for name in ("network", "settings", "metrics", "cases"):
            assert there[name] == here[name]


class TestExports:
    SHAPES = ((1, 3, IMAGE_SIZE, IMAGE_SIZE), (2, 3, 96, 48), (3, 3, 16, 144))

    @pytest.mark.parametrize("shape", SHAPES)
    def test_torchscript_is_the_network_at_any_size(self, released, shape):
        images = torch.rand(shape)
        script = torch.jit.load(released / "models" / "model.ts")
        with torch.no_grad():
            expected = network_of(released / "models" / "model.pt")(images)
            assert float((script(images) - expected).abs().max()) < 1e-4
        assert expected.std() > 0.01, "a test of nothing"

    @pytest.mark.parametrize("shape", SHAPES)
    def test_onnx_is_the_network_at_any_size(self, released, shape):
        images = torch.rand(shape)
        session = onnxruntime.InferenceSession(released / "models" / "model.onnx", providers=["CPUExecutionProvider"])
        found = session.run(None, {"image": images.numpy()})[0]
        with torch.no_grad():
            expected = network_of(released / "models" / "model.pt")(images).numpy()
        assert np.abs(found - expected).max() < 1e-4

    def test_onnx_names_its_axes_and_carries_no_data_apart(self, released):
        model = onnx.load(released / "models" / "model.onnx", load_external_data=False)
        onnx.checker.check_model(model)
        assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["image", "pred", "features"]
        assert all(item.data_location == onnx.TensorProto.DEFAULT for item in model.graph.initializer)
        assert not any(node.metadata_props for node in model.graph.node)

    def test_onnx_and_weights_are_the_same_student(self, released):
        """One by ONNX Runtime alone, the other by PyTorch: what images they take, their masks and features."""
        images = np.random.default_rng(0).random((2, 3, IMAGE_SIZE, 96), np.float32)
        onnx_student, torch_student = open_student(released / "models" / "model.onnx"), open_student(released)
        assert onnx_student.recipe == torch_student.recipe
        assert onnx_student.recipe.facts() == {
            "sees": "crops",
            "crop_size": IMAGE_SIZE,
            "in_channels": 3,
            "classes": ["background", "vessel"],
            "intensity": {"range": [0, 255]},
        }
        for found, expected in zip(onnx_student.run(images), torch_student.run(images), strict=True):
            assert np.abs(found - expected).max() < 1e-4
        np.testing.assert_array_equal(onnx_student.reference.features, torch_student.reference.features)
        assert onnx_student.reference.reach == torch_student.reference.reach

    def test_torchscript_carries_the_metadata_and_the_config(self, released):
        _, metadata, extra = load_net_with_metadata(
            str(released / "models" / "model.ts"), more_extra_files=["inference.json"]
        )
        assert metadata == json.loads((released / "configs" / "metadata.json").read_text())
        assert json.loads(extra["inference.json"]) == json.loads((released / "configs" / "inference.json").read_text())

    def test_exports_of_another_network_are_noticed(self, released, monkeypatch):
        monkeypatch.chdir(released)
        network = network_of(released / "models" / "model.pt")
        exports.compare(network, torch.rand(1, 3, 32, 32))
        with torch.no_grad():
            network.head.bias.add_(0.001)
        with refused("TorchScript gives logits that differ by 0.001"):
            exports.compare(network, torch.rand(1, 3, 32, 32))

    def test_a_student_that_cannot_be_exported_is_not_released(self, student_folder, tmp_path, monkeypatch):
        monkeypatch.setattr("common.release.write_archive", lambda *arguments: pytest.fail("it went on"))
        monkeypatch.setattr(
            "common.release.export_release", lambda folder, *sizes: exports.export_release(folder, 9, 64)
        )
        with refused("could not be exported"):
            release_bundle(
                str(bundle_of("drive")), str(student_folder / "model.pt"), tmp_path, student_def=PLAIN_STUDENT
            )
        assert list(tmp_path.iterdir()) == []


class TestCommand:
    def test_the_command_writes_the_same_bytes(self, released, student_folder, tmp_path):
        """The same student gives the same release, exports and archive included, whoever calls."""
        done = run_python(
            *("common", "release", bundle_of("drive"), "--weights", student_folder / "model.pt"),
            *("--output_dir", tmp_path / "dist", "--student_def", str(PLAIN_STUDENT)),
        )
        assert done.returncode == 0, done.stderr
        assert "released: " in done.stdout
        assert files_of(tmp_path / "dist" / "drive_segmentation") == files_of(released)
        archive = tmp_path / "dist" / "drive_segmentation.zip"
        assert archive.read_bytes() == released.with_suffix(".zip").read_bytes()

    def test_a_student_that_was_evaluated_is_released_with_what_was_measured(self, tiny_phantoms, release, tmp_path):
        weights = write_student("ph2", tmp_path / "run")
        shutil.rmtree(tmp_path / "run" / "evaluation")
        settings = {"dataset_dir": tiny_phantoms("ph2"), "output_dir": tmp_path / "run", "image_size": 48}
        run_stage("evaluate", (), bundle_of("ph2"), device="cpu", student_def=PLAIN_STUDENT, **settings)
        summary = json.loads((tmp_path / "run" / "evaluation" / "student" / "summary.json").read_text())
        folder = release("ph2", weights, version="0.2.0", changes="another student")
        metadata = json.loads((folder / "configs" / "metadata.json").read_text())
        assert metadata["eval_metrics"]["mean_dice"] == round(summary["metrics"]["dice"]["mean"]["mean"], 4)
        assert metadata["version"] == "0.2.0"
        assert yaml.safe_load((folder / "configs" / "train.yaml").read_text())["image_size"] == 48

    def test_a_mistake_is_told_without_a_traceback(self, tmp_path):
        done = run_python(
            *("common", "release", bundle_of("ph2"), "--weights", tmp_path / "no.pt", "--output_dir", tmp_path / "dist")
        )
        assert done.returncode == 1
        assert done.stderr.strip().splitlines()[-1].startswith(f"error: --weights: {tmp_path / 'no.pt'} does not exist")
        assert not (tmp_path / "dist").exists()


class TestBadInput:
    @pytest.fixture
    def weights(self, tmp_path) -> Path:
        return write_student("drive", tmp_path / "run")

    @pytest.fixture(autouse=True)
    def _nothing_is_written(self, tmp_path):
        yield
        leftovers = [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
        assert leftovers == []

    def test_no_weights(self, release, tmp_path):
        with refused("--weights", "model.pt does not exist", "train.yaml"):
            release("drive", tmp_path / "model.pt")
        assert not (tmp_path / "dist").exists()

    def test_weights_that_are_none(self, weights, release, tmp_path):
        weights.write_bytes(b"not a checkpoint")
        with refused("model.pt", "refused|damaged"):
            release("drive", weights)
        assert not (tmp_path / "dist").exists()

    @pytest.mark.parametrize("other", ["kidneyus", "chaos"])
    def test_weights_of_another_bundle(self, other, release, tmp_path):
        with refused("model.pt holds the weights of another architecture", "ViTSegmenter"):
            release("drive", write_student(other, tmp_path / "run"))
        assert not (tmp_path / "dist").exists()

    def test_weights_of_a_bundle_with_as_many_classes(self, release, tmp_path):
        with refused("summary.json has the classes lesion, this student vessel", "another bundle"):
            release("drive", write_student("ph2", tmp_path / "run"))

    def test_weights_of_another_architecture(self, weights, release, tmp_path):
        with refused("another architecture", "--|entries differ"):
            release("drive", weights, student_def={**PLAIN_STUDENT, "hidden_size": 48})

    def test_an_architecture_that_the_weights_fit_but_were_not_evaluated_in(self, weights, release):
        with refused("another network or other weights"):
            release("drive", weights, student_def={**PLAIN_STUDENT, "dropout": 0.5})

    def test_no_evaluation(self, weights, release, tmp_path):
        shutil.rmtree(tmp_path / "run" / "evaluation")
        with refused("no measured metrics in .*summary.json", "run evaluate.yaml", "--metrics"):
            release("drive", weights)

    def test_metrics_are_found_elsewhere(self, weights, release, tmp_path):
        shutil.move(tmp_path / "run" / "evaluation", tmp_path / "elsewhere")
        assert release("drive", weights, metrics=str(tmp_path / "elsewhere" / "student" / "summary.json")).is_dir()

    def test_an_evaluation_of_other_weights(self, weights, release, tmp_path):
        write_student("drive", tmp_path / "later", seed=1)
        shutil.copy(tmp_path / "later" / "model.pt", weights)
        with refused("summary.json is about another network or other weights", "evaluate.yaml"):
            release("drive", weights)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"subject": "teacher"}, "metrics of a teacher, not of a student"),
            ({"metrics": ...}, "damaged or no summary"),
            ({"network": ...}, "damaged or no summary"),
            ({"settings": ...}, "damaged or no summary"),
            ({"metrics__dice__vessel__mean": float("nan")}, "dice of vessel is nan"),
            ({"metrics__dice__mean__mean": 1.2}, "dice of mean is 1.2"),
            ({"metrics__iou__mean__mean": -0.1}, "iou of mean is -0.1"),
            ({"metrics__dice__vessel__mean": None}, "dice of vessel is None"),
            ({"metrics__dice__vessel__mean": "high"}, "dice of vessel is high"),
            ({"metrics__hd95__mean__mean": -1.0}, "hd95 of mean is -1"),
        ],
    )
    def test_metrics_that_no_evaluation_gives(self, changes, message, weights, release, tmp_path):
        change_json(tmp_path / "run" / "evaluation" / "student" / "summary.json", **changes)
        with refused("summary.json", message, "evaluate.yaml"):
            release("drive", weights)
        assert not (tmp_path / "dist").exists()

    def test_but_not_for_a_class_that_no_test_image_has(self, release, tmp_path):
        weights = write_student("kidneyus", tmp_path / "kidney")
        summary = weights.parent / "evaluation/student/summary.json"
        change_json(summary, metrics__dice__medulla__mean=None, metrics__iou__medulla__mean=None)
        assert "| medulla |" in (release("kidneyus", weights) / "docs/README.md").read_text(encoding="utf-8")
        change_json(summary, metrics__dice__mean__mean=None)
        with refused("dice of mean is None"):
            release("kidneyus", weights)

    def test_a_summary_that_is_cut_off(self, weights, release, tmp_path):
        path = tmp_path / "run" / "evaluation" / "student" / "summary.json"
        path.write_text(path.read_text()[:100])
        with refused("summary.json is damaged"):
            release("drive", weights)

    @pytest.mark.parametrize(
        "name", ["LICENSE", "docs/README.md", "docs/data_license.txt", "configs/train.yaml", "configs/metadata.json"]
    )
    def test_a_bundle_that_lacks_a_file(self, name, weights, release, tmp_path):
        bundle = tmp_path / "drive_segmentation"
        shutil.copytree(bundle_of("drive"), bundle)
        (bundle / name).unlink()
        with refused("no complete bundle", name):
            release("drive", weights, bundle=bundle)
        assert not (tmp_path / "dist").exists()

    def test_a_folder_that_is_no_bundle(self, weights, release, tmp_path):
        with refused("is not a bundle: expected a folder with configs/"):
            release("drive", weights, bundle=tmp_path / "run")

    @pytest.mark.parametrize("options", [{"device": "cpu"}, {"dataset_dir": "/data"}, {"subject": "teacher"}])
    def test_keys_that_a_release_has_of_its_own(self, options, weights, release):
        with refused(f"--{next(iter(options))}: a release has its own"):
            release("drive", weights, **options)

    def test_keys_that_no_stage_has(self, weights, release):
        with refused("--cropsize: none of the stages has this key", "crop_size"):
            release("drive", weights, cropsize=3)

    def test_keys_that_contradict_the_evaluation(self, weights, release):
        with refused("--crop_size 128: the student was evaluated with 64"):
            release("drive", weights, crop_size=128)

    @pytest.mark.parametrize("options", [{"version": "0.2.0"}, {"version": "two", "changes": "all"}])
    def test_a_version_that_says_nothing(self, options, weights, release):
        with refused("--version"):
            release("drive", weights, **options)

    def test_packages_for_onnx_are_missing(self, weights, release, monkeypatch):
        monkeypatch.setattr("common.release.exports.find_spec", lambda name: None)
        with refused(r"onnx, onnxruntime, onnxscript", r"\[onnx\]"):
            release("drive", weights)


@pytest.mark.parametrize("name", NAMES)
def test_every_bundle_can_be_released(name, release, tmp_path):
    folder = release(name, write_student(name, tmp_path / "run"))
    assert (folder / "configs" / "inference.yaml").is_file()
