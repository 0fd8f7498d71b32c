"""Soak test of MONAI Label with releases: many clients, good and bad requests, trainings in between; nothing is lost.

Run:  .venv-monailabel/bin/python ci/soak.py dist/ph2_segmentation dist/chaos_segmentation --requests 1000
Made: dist by ci/test_release.sh --dist dist, .venv-monailabel by ci/install.sh monailabel

The students are made tiny, with weights by chance, so that requests take milliseconds. The first release is trained
three times: on good labels, on one with an unknown class, which must change nothing, and on good ones. The exit code is
1 if an answer or a training was not as it should be, or if the memory of the server after the last request is more than
a tenth above that after the first hundred.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "monailabel"))
from server import make_app, serve
from soaking import Soak

from bundles import tiny_copy, write_pictures

_MAX_GROWTH = 0.1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("releases", nargs="+", type=Path, help="folders; the first one sees pictures and is trained")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.requests < 200:
        parser.error("--requests: expected at least 200, since memory is compared with that after the first hundred")
    for release in options.releases:
        if not any(release.glob("scripts_*")):
            parser.error(f"{release}: expected the folder of a release, which has its code in scripts_<hash>/")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "bundles").mkdir()
        bundles = [tiny_copy(release, folder / "bundles") for release in options.releases]
        models = [bundle.name for bundle in bundles]
        app, studies = make_app(folder / "app", bundles), write_pictures(folder / "studies")
        with serve(app, studies, alone=True) as server:
            soak = Soak(server, models, folder / "soak", options.clients, options.seed)
            started = time.monotonic()
            lost = soak.run(options.requests)
            seconds = time.monotonic() - started
    return report(soak, lost, seconds)


def report(soak: Soak, lost: list[str], seconds: float) -> int:
    """Print what was asked and what came of it, and return the exit code."""
    for kind, count in sorted(soak.count().items()):
        print(f"{kind:28} {count:5} requests")
    print(f"{'trainings':28} {', '.join(training.status for training in soak.trainings)}")
    print(f"{'answers by weights':28} {', '.join(map(str, soak.answers_by_version))}: the first, after each training")
    first, last = soak.memory[100], soak.memory[len(soak.answers)]
    growth = last / first - 1
    print(f"{'memory':28} {first:.0f} MB after 100 requests, {last:.0f} MB after all: {growth:+.1%}")
    print(f"{'time':28} {seconds:.0f} s, {soak.clients} clients, {', '.join(soak.models)}")
    for issue in lost:
        print(f"lost: {issue}")
    print(f"{len(lost)} lost")
    return int(bool(lost) or growth > _MAX_GROWTH)


if __name__ == "__main__":
    raise SystemExit(main())
