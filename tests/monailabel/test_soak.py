"""Clients ask at once, for good and for impossible things, while the server trains; ci/soak.py does so at length."""

from __future__ import annotations

from server import make_app, serve
from soaking import BAD, GOOD, Soak

from bundles import write_pictures

TRAINED = ("ph2", "drive", "autooral")  # they see colour pictures


def test_nothing_is_lost(folders, alone, tmp_path):
    """Several releases in one server too, without any environment variable."""
    trained = next(name for name in TRAINED if name in folders)
    chosen = [trained, *(name for name in ("kidneyus", "chaos") if name in folders)]
    bundles = [folders[name] for name in chosen]
    models = [bundle.name for bundle in bundles]
    app, studies = make_app(tmp_path / "app", bundles), write_pictures(tmp_path / "studies")
    with serve(app, studies, alone) as server:
        soak = Soak(server, models, tmp_path / "soak")
        assert soak.run(60) == [], server.printed()[-3000:]
    counts = soak.count()
    assert counts.total() == 60
    assert counts[GOOD] == 48
    assert set(counts) == {GOOD, *BAD}
    assert len(soak.answers_by_version) == 3, "the first weights, and those of two trainings"
    assert min(soak.answers_by_version) > 0
