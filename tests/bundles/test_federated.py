"""``MonaiAlgo`` of MONAI FL trains a bundle on two sites whose images differ, and the average is better than either."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from integration import BUNDLES, TINY_STUDENT, contained, tiny_student
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, FlStatistics, ModelType, WeightType
from monai.fl.utils.exchange_object import ExchangeObject
from PIL import Image, ImageOps
from torch import Tensor

from common.datasets.ph2 import PH2Dataset
from common.files.weights import load_weights

ROUNDS = 24
BATCH_SIZE = 4
STEPS = {"dark": 8, "bright": 6}  # of a round: sites need not have equally many images

pytestmark = pytest.mark.filterwarnings("ignore:executing the bundle config")


class Federation(NamedTuple):
    """What sites did together: themselves, what they sent in each round, and the weights and scores in the end."""

    sites: dict[str, MonaiAlgo]
    updates: list[list[ExchangeObject]]
    weights: dict[str, Tensor]
    metrics: dict[str, float]


def write_phantoms(folder: Path, name: str, seed: int, num_images: int) -> Path:
    """Write phantoms of PH2 with dark lesions on bright skin, or bright ones on dark skin."""
    PH2Dataset.write_phantoms(folder, num_images=num_images, image_size=(48, 60), seed=seed)
    if name == "bright":
        for path in folder.rglob("*_Dermoscopic_Image/*.bmp"):
            ImageOps.invert(Image.open(path)).save(path)
    return folder


def make_site(name: str, dataset_dir: Path, output_dir: Path, test_data: list[dict[str, str]]) -> MonaiAlgo:
    """Return a client as docs/federated.md makes it, with tiny settings."""
    shared = {"dataset_dir": str(dataset_dir), "output_dir": str(output_dir), "num_validation": 1}
    shared |= {"student_def": dict(TINY_STUDENT), "image_size": 32, "device": "cpu"}
    tiny = {"batch_size": BATCH_SIZE, "samples_per_epoch": BATCH_SIZE * STEPS[name], "learning_rate": 0.005}
    site = MonaiAlgo(
        bundle_root=str(BUNDLES / "ph2_segmentation"),
        local_epochs=1,
        config_train_filename="configs/train.yaml",
        train_kwargs={
            **shared,
            **tiny,
            "num_workers": 0,
            "val_interval": ROUNDS,
            "initial_weights": None,
            "lr_scheduler::total_steps": f"${ROUNDS} * @train::trainer::max_epochs * len(@train::dataloader)",
            "checkpoint_path": None,
        },
        config_evaluate_filename="configs/evaluate.yaml",
        eval_kwargs={**shared, "ckpt_path": None, "validate::dataset::data": test_data},
        best_model_filepath=str(output_dir / "model.pt"),
    )
    with contained():
        site.initialize(extra={ExtraItems.CLIENT_NAME: name})
    return site


def average(weights: dict[str, Tensor], updates: Sequence[ExchangeObject]) -> dict[str, Tensor]:
    """Add the mean of what sites have changed, weighted by the iterations that it took them (FedAvg)."""
    iterations = [update.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS] for update in updates]
    shares = [count / sum(iterations) for count in iterations]
    return {
        name: value + sum(share * update.weights[name] for share, update in zip(shares, updates, strict=True))
        for name, value in weights.items()
    }


@pytest.fixture(scope="module")
def federate(tmp_path_factory):
    """Return what trains the sites of these names together, from the same first weights, and tests on both kinds."""
    folder = tmp_path_factory.mktemp("federated")
    data = {name: write_phantoms(folder / name, name, seed, 10) for seed, name in enumerate(STEPS)}
    held_out = [write_phantoms(folder / f"test_{name}", name, 10 + seed, 6) for seed, name in enumerate(STEPS)]
    test_data = [
        {
            "image": str(path),
            "label": str(path.parents[1] / f"{path.parents[1].name}_lesion" / f"{path.stem}_lesion.bmp"),
        }
        for root in held_out
        for path in sorted(root.rglob("*_Dermoscopic_Image/*.bmp"))
    ]

    def run(*names: str) -> Federation:
        output_dir = folder / "_".join(("run", *names))
        sites = {name: make_site(name, data[name], output_dir / name, test_data) for name in names}
        torch.manual_seed(0)
        weights, rounds = tiny_student().state_dict(), []
        for _ in range(ROUNDS):
            with contained():
                for site in sites.values():
                    site.train(ExchangeObject(weights=weights))
            rounds.append([site.get_weights() for site in sites.values()])
            weights = average(weights, rounds[-1])
        with contained():
            metrics = sites[names[0]].evaluate(ExchangeObject(weights=weights)).metrics
        return Federation(sites, rounds, weights, metrics)

    return run


@pytest.fixture(scope="module")
def federation(federate) -> Federation:
    return federate(*STEPS)


def test_the_average_is_better_than_either_sites_own_student(federate, federation):
    for name in STEPS:
        assert federation.metrics["dice"] > federate(name).metrics["dice"] + 0.1


def test_a_site_goes_on_training_in_every_round(federation):
    for number, updates in enumerate(federation.updates, start=1):
        for steps, update in zip(STEPS.values(), updates, strict=True):
            assert update.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS] == steps
            assert update.statistics["current_epoch"] == number
            assert update.weight_type == WeightType.WEIGHT_DIFF
            assert any(value.any() for value in update.weights.values())


def test_the_learning_rate_runs_over_all_rounds(federation):
    for name, site in federation.sites.items():
        scheduler = site.train_workflow.parser.get_parsed_content("lr_scheduler")
        assert scheduler.last_epoch == scheduler.total_steps == ROUNDS * STEPS[name]
        assert scheduler.get_last_lr()[0] < 1e-4


def test_the_average_is_a_student_like_any_other(federation, tmp_path):
    torch.save(federation.weights, tmp_path / "model.pt")
    student = load_weights(tiny_student(), tmp_path / "model.pt")
    assert all(torch.equal(value, federation.weights[name]) for name, value in student.state_dict().items())


def test_a_site_leaves_its_own_student_in_the_end(federation):
    site = federation.sites["dark"]
    own = {name: value.clone() for name, value in site.trainer.network.state_dict().items()}
    with contained():
        site.finalize()
    saved = site.get_weights(extra={ExtraItems.MODEL_TYPE: ModelType.BEST_MODEL}).weights
    assert saved.keys() == own.keys()
    assert all(torch.equal(saved[name], own[name]) for name in own)
