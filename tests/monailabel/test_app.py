"""Our app serves bundles without settings or copies, offers images by doubt, and says what to do where it cannot."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import itk
import numpy as np
import pytest
from monailabel.client import MONAILabelClient
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.utils.app import app_instance
from server import make_app, serve

from bundles import class_ids, read_label, write_pictures

WITHOUT_DROPOUT = {"_target_": "monai.networks.nets.SegResNet", "spatial_dims": 2, "init_filters": 8}


@pytest.fixture(autouse=True)
def path() -> Iterator[None]:
    """Leave the path for modules as it was; MONAI Label forgets bundles there that it cannot load."""
    before = list(sys.path)
    yield
    sys.path[:] = before


def start(app: Path, **conf: str) -> MONAILabelApp:
    """Make the app as the server does, in this process."""
    (app / "model").mkdir(exist_ok=True)
    (app / "studies").mkdir()
    return app_instance(str(app), str(app / "studies"), conf)


def names(bundles: list[Path]) -> list[str]:
    return sorted(bundle.name for bundle in bundles)


@pytest.fixture
def two(folders) -> list[Path]:
    """The folders of two bundles, or of one where there is only one."""
    return [folders[name] for name in sorted(folders)[:2]]


def test_all_of_the_model_folder_is_served_without_settings(two, tmp_path):
    app = make_app(tmp_path / "app", two)
    (app / "model" / "notes").mkdir()
    info = start(app).info()
    assert sorted(info["models"]) == sorted(info["trainers"]) == names(two)
    assert set(info["strategies"]) == {"first", "random", "epistemic"}
    assert list(info["scoring"]) == names(two)[:1], "one model's scores are enough to choose an image by"


def test_bundles_are_served_where_they_lie(two, tmp_path, monkeypatch):
    app = make_app(tmp_path / "app", two[:1])
    monkeypatch.chdir(two[-1].parent)
    served = start(app, models=two[-1].name, epistemic_model=two[-1].name)
    assert list(served.info()["models"]) == [two[-1].name]
    assert served.model_file(two[-1].name) == str(two[-1] / "models" / "model.pt")
    assert list(served.info()["scoring"]) == [two[-1].name]


def test_a_name_is_looked_for_in_the_model_folder_first(two, tmp_path, monkeypatch):
    app = make_app(tmp_path / "app", two)
    monkeypatch.chdir(two[0].parent)
    served = start(app, models=two[0].name)
    assert served.model_file(two[0].name) == str(app / "model" / two[0].name / "models" / "model.pt")
    assert list(served.info()["models"]) == [two[0].name]


class TestNetworkWithoutDropout:
    """It has no doubts to ask for; it is served all the same, unless its scores are asked for."""

    @pytest.fixture
    def bundle(self, two, tmp_path) -> Path:
        bundle = shutil.copytree(two[0], tmp_path / "bundles" / two[0].name)
        config = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
        channels = config["network_data_format"]
        network = {
            **WITHOUT_DROPOUT,
            "in_channels": channels["inputs"]["image"]["num_channels"],
            "out_channels": channels["outputs"]["pred"]["num_channels"],
        }
        for path in bundle.glob("configs/inference.*"):
            path.unlink()
        (bundle / "configs" / "inference.json").write_text(json.dumps({"network_def": network}), encoding="utf-8")
        return bundle

    def test_it_is_served_without_scores(self, bundle, tmp_path, caplog):
        info = start(make_app(tmp_path / "app", [bundle])).info()
        assert list(info["models"]) == [bundle.name]
        assert info["scoring"] == {}
        assert f"{bundle.name} cannot score images" in caplog.text

    def test_its_scores_are_refused(self, bundle, tmp_path):
        app = make_app(tmp_path / "app", [bundle])
        with pytest.raises(RuntimeError, match="SegResNet"):
            start(app, epistemic_model=bundle.name)


def test_a_bundle_without_weights_does_not_score(two, tmp_path):
    bundle = shutil.copytree(two[0], tmp_path / "bundles" / "a_first_one")
    shutil.rmtree(bundle / "models")
    app = make_app(tmp_path / "app", [bundle, two[0]])
    assert list(start(app).info()["scoring"]) == [two[0].name]


class TestRefused:
    def test_other_than_a_bundle(self, two, tmp_path):
        app = make_app(tmp_path / "app", two)
        with pytest.raises(ValueError, match=r"models: studies is not a bundle: it has no configs/metadata\.json"):
            start(app, models=f"{two[0].name},studies")

    def test_two_of_one_name(self, two, tmp_path):
        app = make_app(tmp_path / "app", two)
        with pytest.raises(ValueError, match=f"must have different names, got {two[0].name} twice"):
            start(app, models=f"{two[0].name},{two[0]}")

    def test_scores_of_one_that_is_not_served(self, two, tmp_path):
        app = make_app(tmp_path / "app", two[:1])
        with pytest.raises(ValueError, match=f"epistemic_model: other is not served, expected one of {two[0].name}"):
            start(app, epistemic_model="other")

    def test_an_empty_model_folder_with_what_to_do(self, tmp_path):
        app = make_app(tmp_path / "app", [])
        (tmp_path / "studies").mkdir()
        message = rf"no bundle to serve: there is none in {app}/model\. Copy a release into it, or .*--conf models"
        with pytest.raises(RuntimeError, match=message), serve(app, tmp_path / "studies"):
            pass


@pytest.mark.dataset("kidneyus")
def test_an_annotator_with_3d_slicer(folders, alone, tmp_path):
    """What its extension sends, by MONAI Label's own client, which it is made of: volumes of one slice, in NIfTI."""
    bundle = shutil.copytree(folders["kidneyus"], tmp_path / "dist" / folders["kidneyus"].name)
    weights = bundle / "models" / "model.pt"
    before = weights.read_bytes()
    studies = write_pictures(tmp_path / "studies", "grey.png", "screen.jpg")
    with serve(make_app(tmp_path / "app", []), studies, alone, models=bundle) as server:
        server.wait("scoring")
        client = MONAILabelClient(server.url, str(tmp_path))
        sample = client.next_sample("epistemic", {})
        scores = {
            name: server.get("/datastore/image/info", image=name)["epistemic_entropy"] for name in ("grey", "screen")
        }
        assert sample["id"] == max(scores, key=scores.get)
        file, _ = client.infer(bundle.name, sample["id"], {"result_extension": ".nrrd"})
        label = read_label(Path(file))
        assert 0 < label.max() <= len(class_ids(bundle))

        corrected = np.roll(label, 3, axis=0).astype(np.uint8)
        itk.imwrite(itk.image_from_array(np.ascontiguousarray(corrected.T)[None]), str(tmp_path / "label.nii.gz"))
        client.save_label(sample["id"], str(tmp_path / "label.nii.gz"), params={"label_info": []})
        task = server.train(bundle.name, max_epochs=1, val_split=0)
        assert task["status"] == "DONE", "\n".join(task["details"])
        assert weights.read_bytes() != before, "it is trained where it lies"
        assert client.next_sample("epistemic", {})["id"] == min(scores, key=scores.get), "what has no label yet"
