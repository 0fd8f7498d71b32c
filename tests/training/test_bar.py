"""The bar at the bottom of a terminal: what it shows, and that it is nowhere else."""

from __future__ import annotations

import io
import logging
import re

import pytest

from common.training import bar
from common.training.bar import POSITION_VARIABLE, Bar, Position, counted, position_in_environment
from common.training.durations import in_words


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def seen(self) -> str:
        """Return what is in the last line."""
        return self.getvalue().rpartition("\x1b[2K")[2]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv(POSITION_VARIABLE, raising=False)


def test_where_no_terminal_is_attached_nothing_is_written():
    file = io.StringIO()
    shown = Bar(Position(), file)
    shown.update(0.5, "epoch 1/2")
    shown.clear()
    assert file.getvalue() == ""


def test_other_ranks_draw_none(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    terminal = Terminal()
    Bar(Position(), terminal).update(0.5, "epoch 1/2")
    assert terminal.getvalue() == ""


def test_it_shows_the_whole_pipeline_and_the_time_that_is_left():
    terminal, clock = Terminal(), Clock()
    # Stages that take half of all time are over, in 100 s; this one takes a quarter.
    shown = Bar(Position("[3/4] distill", 0.5, 0.25, 100, 0.5), terminal, clock)
    clock.now = 1000  # of a slow first step, which does not count
    shown.update(0.1, "epoch 1/12")
    assert terminal.seen().endswith("  52 %")
    clock.now += 20
    shown.update(0.5, "epoch 6/12")
    # 50 s for all of it, 25 s of them for the other half; then a quarter of the work at 150 s for three.
    assert terminal.seen() == "[3/4] distill  epoch 6/12  ###############.........  62 %  about 1 min left"
    assert shown.position.seconds_left(0.5, 50) == pytest.approx(25 + 50)


def test_a_stage_by_itself_is_all_there_is():
    assert Position().seconds_left(0.25, 40) == pytest.approx(30)


@pytest.mark.parametrize(("share", "seconds", "is_told"), [(0.02, 59, False), (0.02, 60, True), (0.26, 5, True)])
def test_the_time_left_is_told_once_a_minute_or_a_quarter_was_measured(share, seconds, is_told):
    terminal, clock = Terminal(), Clock()
    shown = Bar(Position(), terminal, clock)
    shown.update(0, "images 0/100")
    clock.now = 30
    shown.update(0.01, "images 1/100")
    clock.now += seconds
    shown.update(share, "images")
    assert ("left" in terminal.seen()) == is_told


def test_what_is_counted_anew_is_measured_anew():
    terminal, clock = Terminal(), Clock()
    shown = Bar(Position(), terminal, clock)
    for clock.now, share in ((0, 0.5), (100, 0.9), (110, 0.1), (120, 0.5)):
        shown.update(share, "images")
    assert terminal.seen().endswith("50 %  about 12 s left")


def test_it_is_not_drawn_too_often_but_always_at_the_end():
    terminal, clock = Terminal(), Clock()
    shown = Bar(Position(), terminal, clock)
    for share in (0.1, 0.2, 1.0):
        shown.update(share, "images")
    assert len(re.findall("images", terminal.getvalue())) == 2
    assert "100 %" in terminal.seen()


def test_a_line_of_the_log_takes_the_place_of_the_bar(monkeypatch):
    terminal = Terminal()
    shown = Bar(Position(), terminal)
    monkeypatch.setattr(bar, "this_bar", lambda: shown)
    bar.this_bar().update(0.5, "epoch 1/2")
    assert bar.clear_for(logging.makeLogRecord({})) is True
    assert terminal.seen() == ""


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (80, "[1/7] finetune_teacher  epoch 1/2  loss 0.123  ############............  50 %"),
        (64, "[1/7] finetune_teacher  epoch 1/2  loss 0.123  #####.....  50 %"),
        (54, "[1/7] finetune_teacher  epoch 1/2  loss 0.123  50 %"),
        (40, "[1/7] finetune_teacher  epoch 1/2  50 %"),
        (20, "[1/7] finetune_teac"),
    ],
)
def test_it_fits_the_terminal_by_a_shorter_bar_and_then_by_less_of_the_rest(columns, line, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = Terminal()
    Bar(Position("[1/7] finetune_teacher"), terminal).update(0.5, "epoch 1/2  loss 0.123")
    assert terminal.seen() == line


def test_a_process_knows_its_position_by_its_environment(monkeypatch):
    assert Position.of_this_process() == Position()
    position = Position("[2/7] synthesize", 0.25, 0.5, 12.5, 0.25)
    for name, value in position_in_environment(position).items():
        monkeypatch.setenv(name, value)
    assert Position.of_this_process() == position


def test_items_are_counted_and_all_yielded(monkeypatch):
    terminal, clock = Terminal(), Clock()
    shown = Bar(Position(), terminal, clock)
    monkeypatch.setattr(bar, "this_bar", lambda: shown)
    items = []
    for item in counted([3, 4, 5, 6], "batch"):
        clock.now += 1
        items.append((item, terminal.seen().split("  ")[0]))
    assert items == [(3, "batch 0/4"), (4, "batch 1/4"), (5, "batch 2/4"), (6, "batch 3/4")]
    assert terminal.seen() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (12.3, "12 s"), (59.7, "1 min"), (200, "3 min"), (3599, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_durations_are_in_words(seconds, text):
    assert in_words(seconds) == text
