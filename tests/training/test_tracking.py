"""MONAI's ``--tracking mlflow`` on every stage that trains: what MLflow's store has is what TensorBoard has."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest
from integration import BUNDLES, METHOD_CONFIGS, run_in_process, stage_command, with_method, write_transfer
from monai.bundle import ConfigParser
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TRAINING = ("finetune_teacher", "train_diffusion", "distill", "train")
VALIDATED = ("finetune_teacher", "distill", "train")
FOLDERS = sorted(path for path in BUNDLES.iterdir() if (path / "configs").is_dir())
PRETRAINING = ("mae", "mocov3")  # methods that put other handlers and trainers into stage distill
METHODS = sorted(METHOD_CONFIGS.glob("*.yaml"))


@pytest.fixture(scope="module")
def output_dir(tmp_path_factory, tiny_phantoms) -> Path:
    """The output of all stages that train, and of methods that pre-train the student, with the store in it."""
    folder = tmp_path_factory.mktemp("tracking")
    write_transfer(folder)
    shared = {"dataset_dir": tiny_phantoms("drive"), "tracking": "mlflow", "num_validation": 1}
    for stage in TRAINING:
        values = {"run_name": "@stage", "save_execute_config": folder / f"{stage}.json"}
        run_in_process(stage_command(stage, output_dir=folder, **shared, **values)[2:])
    for method in PRETRAINING:
        (folder / method).mkdir()
        (folder / method / "transfer").symlink_to(folder / "transfer")
        values = {"run_name": method, "tracking_uri": f"sqlite:///{folder}/mlruns.db"}
        command = stage_command("distill", with_method(method), output_dir=folder / method, **shared, **values)
        run_in_process(command[2:])
    return folder


@pytest.fixture(scope="module")
def client(output_dir) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{output_dir}/mlruns.db")


def find_run(client: mlflow.MlflowClient, name: str) -> mlflow.entities.Run:
    experiment = client.get_experiment_by_name("monai_experiment")
    (run,) = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")
    return run


def history(client: mlflow.MlflowClient, run: mlflow.entities.Run, metric: str) -> dict[int, float]:
    return {point.step: point.value for point in client.get_metric_history(run.info.run_id, metric)}


def tensorboard(output_dir: Path, stage: str, tag: str) -> dict[int, float]:
    events = EventAccumulator(str(output_dir / "tensorboard" / stage)).Reload()
    return {event.step: event.value for event in events.Scalars(tag)}


class TestStages:
    @pytest.mark.parametrize("stage", TRAINING)
    def test_the_loss_of_every_iteration_is_logged(self, client, output_dir, stage):
        run = find_run(client, stage)
        assert run.info.status == "FINISHED"
        losses = history(client, run, "train_loss")
        length = int(run.data.params["epoch_length"])
        assert run.data.params["max_epochs"] == "2"
        assert list(losses) == list(range(1, 2 * length + 1))
        assert losses == pytest.approx(tensorboard(output_dir, stage, "loss"), rel=1e-5)

    @pytest.mark.parametrize("stage", VALIDATED)
    def test_validation_is_logged_after_each_epoch(self, client, output_dir, stage):
        scores = history(client, find_run(client, stage), "val_dice")
        assert list(scores) == [1, 2]
        assert scores == pytest.approx(tensorboard(output_dir, stage, "val_dice"), rel=1e-5)

    @pytest.mark.parametrize("stage", TRAINING)
    def test_the_learning_rate_is_logged_as_it_changes(self, client, stage):
        rates = history(client, find_run(client, stage), "lr_group_0")
        assert len(set(rates.values())) > 1

    @pytest.mark.parametrize("stage", TRAINING)
    def test_the_config_that_was_run_is_kept_with_it(self, client, output_dir, stage):
        run = find_run(client, stage)
        (artifact,) = client.list_artifacts(run.info.run_id)
        config = json.loads((output_dir / "mlruns" / run.info.run_id / "artifacts" / artifact.path).read_text())
        assert config["stage"] == stage
        assert config["epochs"] == 2
        assert config["learning_rate"] == 0.001


@pytest.mark.parametrize("method", PRETRAINING)
def test_methods_that_pretrain_the_student_are_logged_too(client, output_dir, method):
    run = find_run(client, method)
    assert run.info.status == "FINISHED"
    losses = history(client, run, "train_loss")
    assert losses == pytest.approx(tensorboard(output_dir / method, "distill", "loss"), rel=1e-5)
    assert len(losses) == 2 * int(run.data.params["epoch_length"])


@pytest.mark.parametrize("bundle", FOLDERS, ids=lambda path: path.name)
class TestStructure:
    """What ``--tracking`` changes in a config is there, under the names that it looks for, in every bundle."""

    @pytest.mark.parametrize("stage", TRAINING)
    def test_handlers_can_be_added(self, bundle, stage):
        self.check(ConfigParser(ConfigParser.load_config_file(str(bundle / "configs" / f"{stage}.yaml"))), stage)

    @pytest.mark.parametrize("method", METHODS, ids=lambda path: path.stem)
    def test_handlers_can_be_added_to_a_method(self, bundle, method):
        files = [str(bundle / "configs/distill.yaml"), str(method)]
        self.check(ConfigParser(ConfigParser.load_config_files(files)), "distill")

    def check(self, parser: ConfigParser, stage: str) -> None:
        names = DEFAULT_MLFLOW_SETTINGS["handlers_id"]
        assert isinstance(parser[names["trainer"]["handlers"]], list)
        assert parser[names["trainer"]["id"]]["train_handlers"] == "@train::handlers"
        handlers = [parser[each[1:]] if isinstance(each, str) else each for each in parser["train::handlers"]]
        assert any("ProgressReport" in each["_target_"] for each in handlers)  # MLflow reads the loss where it puts it
        if stage in VALIDATED:
            assert isinstance(parser[names["validator"]["handlers"]], list)
            assert parser[names["validator"]["id"]]["val_handlers"] == "@validate::handlers"
        assert names["evaluator"]["id"] not in parser
        assert not set(parser.get()) & set(DEFAULT_MLFLOW_SETTINGS["configs"]) - {"output_dir"}
