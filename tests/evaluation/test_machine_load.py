"""Times count as measured alone where others left the processors alone."""

from __future__ import annotations

import pytest

from common.evaluation.machine_load import MachineLoad, Times, read_times


@pytest.mark.parametrize(
    ("busy", "alone"), [(30, True), (33, True), (40, False), (20, True)], ids=["we", "a little", "others", "rounding"]
)
def test_what_others_take_decides(busy, alone):
    """In 10 s, two processors; 30 s are of this process and its children."""
    times = iter([Times(5, 100, 1000), Times(25, 130, 1000 + busy)])
    load = MachineLoad(lambda: next(times), processors=2)
    load.start()
    assert load.was_alone() is alone


def test_where_the_system_does_not_tell_it_is_unknown(tmp_path):
    load = MachineLoad(lambda: read_times(tmp_path / "no_such_file"), processors=2)
    load.start()
    assert load.was_alone() is None


def test_busy_time_is_all_but_idle_and_waiting_and_counts_guests_once(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    statistics = tmp_path / "stat"
    statistics.write_text("cpu  100 200 300 4000 5000 600 700 800 90 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n", encoding="ascii")
    assert read_times(statistics).all == pytest.approx((100 + 200 + 300 + 600 + 700 + 800) / 100)
