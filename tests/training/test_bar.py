"""The bar at the bottom of a terminal: what it shows, and that it is nowhere else."""

from __future__ import annotations

import io
import logging
import re

import pytest

from common.training import bar
from common.training.bar import Bar, Position, counted, position_in_environment
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
    monkeypatch.delenv(Position.VARIABLE, raising=False)


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
    clock.now = 25
    shown.update(0.5, "epoch 6/12")
    # 25 s for the other half, and a quarter of the work at 125 s for 0.625 of it.
    assert terminal.seen() == "[3/4] distill  epoch 6/12  ###############.........  62 %  about 1 min left"
    assert shown.position.seconds_left(0.5, 25) == pytest.approx(25 + 50)


def test_a_stage_by_itself_is_all_there_is():
    assert Position().seconds_left(0.25, 10) == pytest.approx(30)
    assert Position().seconds_left(0, 10) is None


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


def test_it_fits_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    Bar(Position("[1/7] finetune_teacher"), terminal).update(0.5, "epoch 1/2  loss 0.123")
    assert len(terminal.seen()) == 39


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
