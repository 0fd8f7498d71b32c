"""A stage in a pipeline shows its own lines in one form, and nothing of libraries; its log has everything."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

SETUP = """
import logging, sys, warnings
from common.training import logs
from common.training.screen import show_own_lines
import monai.bundle
show_own_lines()
logs.start(sys.argv[1], "train")
"""


def run(tmp_path: Path, code: str) -> tuple[str, str]:
    """Run code in a process of a stage; return what is on its screen and in its log."""
    command = [sys.executable, "-c", SETUP + textwrap.dedent(code) + "\nlogs.stop(sys.argv[1])", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    log = (tmp_path / "logs" / "train.log").read_text(encoding="utf-8")
    return done.stdout + done.stderr, log


def test_own_lines_are_plain_and_those_of_libraries_are_in_the_log_alone(tmp_path):
    screen, log = run(
        tmp_path,
        """
        logging.getLogger("common.training.progress").info("train: epoch 1/2")
        logging.getLogger("common.datasets.ph2").warning("two images are alike")
        logging.getLogger("ignite.engine.engine.SupervisedTrainer").info("Engine run resuming")
        logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").warning("nvImageCodec is not available")
        logging.getLogger("monai.bundle.scripts").info("--- input summary")
        logging.getLogger("monai.transforms").error("this cannot be")
        warnings.warn("a kernel is slow")
        """,
    )
    assert screen.splitlines() == [
        "    train: epoch 1/2",
        "    warning: two images are alike",
        "    error: this cannot be",
    ]
    for part in ("epoch 1/2", "alike", "Engine run", "nvImageCodec", "input summary", "cannot be", "a kernel is slow"):
        assert log.count(part) == 1, part


def test_a_later_stage_does_not_repeat_what_is_known_of_the_data(tmp_path):
    log_of_data = """
        import os
        from common.training.bar import Position, position_in_environment
        os.environ.update(position_in_environment(Position("[2/2] evaluate", 0.5, 0.5, 10, {measured})))
        show_own_lines()
        logging.getLogger("common.datasets.ph2").info("the split is stratified")
        logging.getLogger("common.datasets.ph2").warning("two images are alike")
        """
    screens = [run(tmp_path, log_of_data.replace("{measured}", each))[0] for each in ("0", "0.5")]
    assert ["stratified" in screen for screen in screens] == [True, False]
    assert all("alike" in screen for screen in screens)


def test_weights_are_read_without_bars(tmp_path):
    screen, _ = run(
        tmp_path,
        """
        import transformers
        from common.training.screen import hide_loading_bars
        hide_loading_bars()
        for _ in transformers.utils.logging.tqdm(range(3), desc="Loading weights"):
            pass
        """,
    )
    assert screen == ""
