"""Studies that are killed, started twice, or lose a node of their cluster: nothing is lost, nothing runs twice.

Those that are killed are real commands, with stub stages; one run on the cluster is real.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from integration import BUNDLE, TINY, alive, environment
from stub_stages import StubStages, wait_until

from common.errors import InputError
from common.study.run import run_study

NUM_STEPS, HELD = 5, 2


@pytest.fixture
def options(tiny_phantoms, tmp_path) -> dict[str, str]:
    """What every study here is given."""
    return {"dataset_dir": str(tiny_phantoms("drive")), "output_dir": str(tmp_path / "study"), "overlay": "demo"}


@pytest.fixture
def command(options) -> Callable[..., list[str]]:
    """Return what returns a command that runs a study."""

    def make(**others: Any) -> list[str]:
        arguments = [f"--{key}={value}" for key, value in {**options, **others}.items()]
        return [sys.executable, "-m", "common", "study", str(BUNDLE), *arguments]

    return make


@contextmanager
def started(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """Start a command that is killed at the end, if it has not ended by then."""
    with log.open("w") as file, subprocess.Popen(command, env=environment, stdout=file, stderr=file) as process:
        try:
            yield process
        finally:
            process.kill()


def check_no_step_was_lost(stub: StubStages, finished: int) -> dict[tuple[str, str], list[int]]:
    """Check that every stage made all its steps in order, at most the one in progress again; return pids by stage."""
    stages: dict[tuple[str, str], list[dict]] = {}
    for step in stub.journal:
        stages.setdefault((step["job"], step["stage"]), []).append(step)
    assert len(stages) == finished
    for steps in stages.values():
        numbers = [step["step"] for step in steps]
        assert sorted(set(numbers)) == list(range(NUM_STEPS))
        assert numbers == sorted(numbers), "a stage goes on where it was"
        assert max(Counter(numbers).values()) <= len({step["pid"] for step in steps})
    return {stage: list(dict.fromkeys(step["pid"] for step in steps)) for stage, steps in stages.items()}


def test_a_killed_study_loses_the_step_in_progress_and_no_second_one_runs_beside_it(stages, options, command, tmp_path):
    """It is killed as a process of its own; what is tried beside it and after it runs in this one."""
    stages.plan(steps=NUM_STEPS, hold=HELD)
    grid = {"methods": "unet,scratch", "labels": 2}
    with started(command(**grid), stages.environment(), tmp_path / "first.log") as first:
        stages.wait_for(lambda journal: journal and journal[-1]["step"] == HELD, first)
        with pytest.raises(InputError, match=f"output_dir: another run is writing to {tmp_path / 'study'}; "):
            run_study(str(BUNDLE), **options, **grid)
        first.kill()
    interrupted = stages.journal[-1]
    wait_until(lambda: not alive(interrupted["pid"]))
    stages.go_on()

    run_study(str(BUNDLE), **options, **grid)
    assert stages.journal[HELD + 1]["step"] == HELD
    pids = check_no_step_was_lost(stages, finished=2 + 3)
    assert [stage for stage, ids in pids.items() if len(ids) > 1] == [(interrupted["job"], interrupted["stage"])]


class Cluster(NamedTuple):
    """A Ray cluster on this machine, whose tasks find stub stages or real ones as its environment says."""

    environment: dict[str, str]  # of a command that is to use it
    stop_a_node: Callable[[], None]


@pytest.fixture
def start_cluster(monkeypatch) -> Iterator[Callable[..., Cluster]]:
    """Return what starts a head, which runs nothing itself, and two nodes with room for one task each.

    Ray takes their GPUs on trust, and lets a task see those it is given by ``CUDA_VISIBLE_DEVICES``.
    """
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # addresses stay those of this machine to itself
    monkeypatch.setenv("RAY_worker_niceness", "0")  # by default 15: on a busy machine, tests would take forever
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    here = {"node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20}
    clusters = []

    def start(environment: dict[str, str], num_gpus: int = 0) -> Cluster:
        for name in ("PYTHONPATH", "OMP_NUM_THREADS", "STUB_STAGES"):
            if name in environment:
                monkeypatch.setenv(name, environment[name])
        cluster = cluster_utils.Cluster()
        clusters.append(cluster)
        cluster.add_node(num_cpus=0, include_dashboard=False, **here)
        nodes = [cluster.add_node(num_cpus=1, num_gpus=num_gpus, **here) for _ in range(2)]
        connected = {**os.environ, "RAY_ADDRESS": cluster.address}
        return Cluster(connected, lambda: cluster.remove_node(nodes.pop(), allow_graceful=False))

    yield start
    for cluster in clusters:
        cluster.shutdown()


def test_a_study_on_a_cluster_goes_on_when_a_node_is_stopped(start_cluster, stub, command, tmp_path):
    stub.plan(steps=NUM_STEPS, hold=HELD)
    cluster = start_cluster(stub.environment(), num_gpus=1)
    run = command(methods="mae,scratch", labels=2, transfer_sizes=3, launcher="ray")
    log = tmp_path / "study.log"
    with started(run, cluster.environment, log) as study:
        # Each node is at a stage.
        stub.wait_for(lambda journal: sum(step["step"] == HELD for step in journal) == 2, study)
        at_work = [step["pid"] for step in stub.journal if step["step"] == HELD]
        cluster.stop_a_node()
        wait_until(lambda: not all(map(alive, at_work)))
        stub.go_on()
        assert study.wait(timeout=300) == 0, log.read_text()
    stages = check_no_step_was_lost(stub, finished=2 + 2 * 3)
    again = [pids for pids in stages.values() if len(pids) > 1]
    assert len(again) == 1, "the stage that the node was at went on elsewhere"
    assert again[0][0] in at_work
    assert {step["gpus"] for step in stub.journal} == {"0"}, "where there are GPUs, every stage has one"
    printed = log.read_text()
    assert "[3/3] " in printed
    assert printed.count("left: ") == 1 + 3
    runs = ("mae_2labels_3images_seed0", "scratch_2labels_seed0")
    for run in runs:
        assert (tmp_path / "study" / "runs" / run / "evaluation/student/summary.json").is_file()


def test_a_real_run_is_run_by_a_cluster_and_one_that_fails_is_reported(start_cluster, command, tmp_path):
    cluster = start_cluster(environment())
    tiny = {key: TINY[key] for key in ("crop_size", "epochs", "val_interval", "batch_size", "samples_per_epoch")}
    run = command(methods="unet,mae", labels=2, launcher="ray", **tiny, diffusion_channels=[8, 8, 8, 8], sample_size=33)
    done = subprocess.run(run, env=cluster.environment, capture_output=True, text=True, check=False)
    runs = tmp_path / "study" / "runs"
    summary = json.loads((runs / "unet_2labels_seed0" / "evaluation" / "student" / "summary.json").read_text())
    assert summary["cases"] == 3
    assert summary["parameters"] > 1_600_000
    assert done.returncode == 1
    lines = done.stderr[done.stderr.index("error: ") :].splitlines()
    assert lines[0] == "error: 2 jobs are not finished; the same command tries again"
    log = tmp_path / "study" / "shared" / "diffusion_2labels_seed0" / "output.log"
    not_run, failed = sorted(lines[1:3])
    assert not_run == "  runs/mae_2labels_64images_seed0: not run: shared/diffusion_2labels_seed0 is missing"
    said = "shared/diffusion_2labels_seed0: failed: stage train_diffusion failed (exit code 1): sample_size"
    assert failed.startswith(f"  {said}")
    assert failed.endswith(f"; see {log}")
    assert "error: stage train_diffusion failed (exit code 1): sample_size" in log.read_text(encoding="utf-8")
