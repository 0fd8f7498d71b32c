"""The server asks the student what it doubts, and serves first what it doubts most; several clients ask at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image
from server import Server, make_app, serve

from bundles import import_from, picture, write_volume

_IMAGES = {"plain": 0.1, "faint": 0.4, "usual": 1.0, "harsh": 3.0}  # and their contrast
_SIMULATIONS = 40
# What a pixel counts for each class that was never chosen, since MONAI Label takes the logarithm of it.
_FLOOR = -5e-5 * np.log(5e-5)


def write_studies(folder: Path, dataset: str) -> Path:
    """Write images of several contrasts."""
    folder.mkdir()
    for seed, (name, contrast) in enumerate(_IMAGES.items()):
        if dataset == "chaos":
            write_volume(folder / f"{name}.nii.gz", "LAS", seed=10 * seed)
        else:
            pixels = np.clip(127 + contrast * (picture(90, 120, seed) - 127.0), 0, 255).astype(np.uint8)
            Image.fromarray(pixels[..., 1] if dataset == "kidneyus" else pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module", params=["drive", "kidneyus", "chaos"])
def scored(request, folders, alone, tmp_path_factory) -> Iterator[tuple[Server, str, Path]]:
    """A server that has scored its images, the name of the model, and its folder."""
    bundle = folders[request.param]
    folder = tmp_path_factory.mktemp("scoring")
    app = make_app(folder / "app", [bundle])
    studies = write_studies(folder / "studies", request.param)
    with serve(app, studies, alone, epistemic_simulation_size=_SIMULATIONS, epistemic_dropout=0.2) as server:
        task = server.score(bundle.name)
        assert task["status"] == "DONE", "\n".join(task["details"])
        yield server, bundle.name, bundle


def scores_of(server: Server) -> dict[str, float]:
    return {name: server.get("/datastore/image/info", image=name)["epistemic_entropy"] for name in _IMAGES}


def test_scores_tell_images_apart_and_come_from_dropout(scored):
    server, _, bundle = scored
    scores = scores_of(server)
    assert len(set(scores.values())) == len(_IMAGES)
    with import_from(bundle):
        config = ConfigParser(ConfigParser.load_config_file(str(bundle / "configs" / "inference.yaml")))
        classes = config.get_parsed_content("num_classes")
    assert min(scores.values()) > 5 * _FLOOR * (classes - 1)
    assert max(scores.values()) < np.log(classes)


@pytest.mark.parametrize("scored", ["kidneyus"], indirect=True)  # it sees images whole
def test_scores_are_the_entropy_of_what_dropout_makes_the_student_choose(scored):
    server, _, bundle = scored
    torch.manual_seed(1)
    with import_from(bundle):
        config = ConfigParser(ConfigParser.load_config_file(str(bundle / "configs" / "inference.yaml")))
        config["network_def"]["dropout"] = 0.2
        network = config.get_parsed_content("network_def")
        network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
        preprocess = config.get_parsed_content("preprocessing")
    expected = {}
    for image in _IMAGES:
        seen = preprocess({"image": str(server.studies / f"{image}.png")})["image"].as_tensor()
        entropies = []
        with torch.no_grad():
            for _ in range(4):
                chosen = network.train()(seen.expand(_SIMULATIONS, -1, -1, -1)).argmax(1)
                often = torch.nn.functional.one_hot(chosen).float().mean(0).clamp(min=5e-5)
                entropies.append(float(-(often * often.log()).sum(-1).mean()))
        expected[image] = np.mean(entropies)
    scores = scores_of(server)
    assert scores == pytest.approx(expected, rel=0.2)


def test_active_learning_serves_what_is_doubted_most_first(scored):
    server, _, _ = scored
    scores = scores_of(server)
    served = [server.post("/activelearning/epistemic")["id"] for _ in _IMAGES]
    assert served == sorted(scores, key=scores.get, reverse=True)


@pytest.mark.parametrize("scored", ["kidneyus"], indirect=True)
def test_clients_that_ask_at_once_get_what_each_would_get_alone(scored, tmp_path):
    server, model, _ = scored

    def ask(number: int) -> bytes:
        (tmp_path / str(number)).mkdir()
        return server.infer(model, list(_IMAGES)[number % len(_IMAGES)], tmp_path / str(number))[0].read_bytes()

    alone = [ask(number) for number in range(len(_IMAGES))]
    with ThreadPoolExecutor(8) as clients:
        assert list(clients.map(ask, range(len(_IMAGES), 10 * len(_IMAGES)))) == alone * 9
