"""Many requests by several clients to one MONAI Label server, good and bad ones, while it trains: none may be lost."""

from __future__ import annotations

import filecmp
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import requests
from PIL import Image
from server import Server

from bundles import picture, read_label, run_inference

IMAGES = {
    "drive": ("rgb.png", "photo.tif", "camera.jpg"),
    "ph2": ("rgb.png", "photo.tif", "camera.jpg"),
    "autooral": ("rgb.png", "photo.tif", "camera.jpg"),
    "kidneyus": ("grey.png", "screen.jpg"),
    "busi": ("grey.png", "screen.jpg"),
    "chaos": ("scan.nii.gz", "sideways.nii.gz"),
}
GOOD = "image"
BAD = ("unknown image", "damaged image", "image of another kind", "label of an unknown class", "damaged label")
_BAD_SHARE = 0.2
_CLOCK = 2.0  # seconds between the time that a file of weights has and the moment at which the server may take it
_TASKS = {"train", "scoring"}  # arguments of the processes that end with their task
_LABELLED, _SPOILT = "rgb", "photo"  # images with a good label and with a bad one


class Request(NamedTuple):
    """What a client asks: the label of an image, or something that cannot be done."""

    kind: str
    model: str
    image: str


class Answer(NamedTuple):
    """A label, when it was asked for and when it came; or what went wrong."""

    request: Request
    started: float
    ended: float
    label: np.ndarray | None
    issue: str | None


class Training(NamedTuple):
    """How the server says that a training ended, and whether the weights are others than before."""

    status: str
    changed: bool


EXPECTED_TRAININGS = [Training("DONE", True), Training("ERROR", False), Training("DONE", True)]


class Version(NamedTuple):
    """A copy of a bundle with the weights that were in use from a time on."""

    bundle: Path
    since: float


class Soak:
    """The clients of a server, and an annotator who trains the first model in between.

    Args:
        server: with the studies of ``bundles.write_pictures``.
        models: names of its bundles; the first one is trained and sees colour pictures.
        folder: new, for labels and references.
        clients: that ask at the same time.
        seed: of what they ask for.

    Attributes:
        answers: all of them, as they came.
        trainings: on good labels, with a bad one among them, and on good labels again.
        memory: MB that the server's processes had, without those that train or score images, by number of answers.
        answers_by_version: how many labels by the trained model were those of its first, second, ... weights.
    """

    def __init__(self, server: Server, models: Sequence[str], folder: Path, clients: int = 4, seed: int = 0) -> None:
        self.server, self.models, self.folder = server, list(models), folder
        self.clients, self.seed = clients, seed
        self.answers: list[Answer] = []
        self.trainings: list[Training] = []
        self.memory: dict[int, float] = {}
        self.answers_by_version: list[int] = []
        self._versions: list[Version] = []
        self._turn, self._labels = threading.Lock(), threading.Lock()
        folder.mkdir()
        _write_labels(folder)
        self._keep_weights()

    def run(self, number: int, epochs: int = 2) -> list[str]:
        """Send requests, and train on good, on bad and on good labels in between; return what was lost.

        Args:
            number: of requests, all clients together.
            epochs: of each training.
        """
        plan = enumerate(self._plan(number))
        # While a training runs, requests go on up to where the next one begins; some are left for the last weights.
        self._limits = [number // 2, 3 * number // 4, 7 * number // 8, number]
        with ThreadPoolExecutor(self.clients + 1) as threads:
            running = [threads.submit(self._ask_all, plan) for _ in range(self.clients)]
            running.append(threads.submit(self._train_all, [number // 4, number // 2, 3 * number // 4], epochs))
            for each in running:
                each.result()
        self.memory[number] = self._resident()
        lost = [] if self.trainings == EXPECTED_TRAININGS else [f"trainings ended as {self.trainings}"]
        return lost + self._wrong_answers()

    def count(self) -> Counter[str]:
        """Return the number of answers by kind of request."""
        return Counter(answer.request.kind for answer in self.answers)

    def _plan(self, number: int) -> Iterator[Request]:
        """Yield requests in random order, a fifth of them bad, as many of each kind."""
        rng = random.Random(self.seed)
        bad = round(number * _BAD_SHARE)
        kinds = [BAD[index % len(BAD)] for index in range(bad)] + [GOOD] * (number - bad)
        rng.shuffle(kinds)
        for kind in kinds:
            model = rng.choice(self.models)
            names = {
                GOOD: [name.split(".")[0] for name in IMAGES[_dataset(model)]],
                "unknown image": ["absent"],
                "damaged image": ["cut_off", "text"],
                "image of another kind": ["rgb" if _dataset(model) == "chaos" else "scan"],
            }
            yield Request(kind, model, rng.choice(names.get(kind, [_SPOILT])))

    def _ask_all(self, plan: Iterator[tuple[int, Request]]) -> None:
        while True:
            with self._turn:
                number, request = next(plan, (0, None))
            if request is None:
                return
            while number >= self._limits[len(self.trainings)]:
                time.sleep(0.05)
            answer = self._ask(request, self.folder / str(number))
            with self._turn:
                self.answers.append(answer)
                if len(self.answers) == 100:
                    self.memory[100] = self._resident()

    def _ask(self, request: Request, folder: Path) -> Answer:
        started, label, issue = time.time(), None, None
        try:
            if request.kind == GOOD:
                folder.mkdir()
                label = read_label(self.server.infer(request.model, request.image, folder)[0])
                shutil.rmtree(folder)
            elif request.image == _SPOILT:
                self._submit_bad(request.kind)
            elif (answer := self.server.ask_label(request.model, request.image)).ok:
                issue = f"answered with {answer.status_code}"
        except (requests.RequestException, OSError) as error:
            issue = repr(error)
        return Answer(request, started, time.time(), label, issue)

    def _submit_bad(self, kind: str) -> None:
        """Submit a label that no training may take; MONAI Label stores any, since it reads none.

        It is a final one unless a training reads the labels at that time, which such a label would end.
        """
        final = self._labels.acquire(blocking=False)
        try:
            self.server.submit(_SPOILT, self.folder / f"{kind}.png", tag="final" if final else "draft")
        finally:
            if final:
                self._labels.release()

    def _train_all(self, stops: Sequence[int], epochs: int) -> None:
        """Train when so many requests were answered: on a good label, with a bad one beside it, and on a good one."""
        for number, stop in enumerate(stops):
            while len(self.answers) < stop:
                time.sleep(0.05)
            with self._labels:
                self.server.submit(_LABELLED, self.folder / f"{_LABELLED}.png")
                spoilt = "label of an unknown class" if number == 1 else _SPOILT
                self.server.submit(_SPOILT, self.folder / f"{spoilt}.png")
                task = self.server.train(self.models[0], max_epochs=epochs, val_split=0)
            changed = self._keep_weights()
            self.trainings.append(Training(task["status"], changed))

    def _keep_weights(self) -> bool:
        """Keep a copy of the trained bundle if its weights are new, and say whether they are."""
        bundle = self.server.app / "model" / self.models[0]
        weights = bundle / "models" / "model.pt"
        if self._versions and filecmp.cmp(weights, self._versions[-1].bundle / "models" / "model.pt", shallow=False):
            return False
        copy = self.folder / f"version{len(self._versions)}" / bundle.name
        shutil.copytree(bundle, copy)
        self._versions.append(Version(copy, weights.stat().st_mtime))
        return True

    def _resident(self) -> float:
        server = psutil.Process(self.server.pid)
        processes = [server, *server.children(recursive=True)]
        return sum(each.memory_info().rss for each in processes if not _TASKS & set(each.cmdline())) / 1e6

    def _wrong_answers(self) -> list[str]:
        references = self._references()
        counts: Counter[int] = Counter()
        lost = []
        for request, started, ended, label, issue in self.answers:
            if request.kind == GOOD and issue is None:
                matching = [
                    version
                    for version, (since, until, masks) in enumerate(references[request.model])
                    if since - _CLOCK <= ended
                    and started <= until + _CLOCK
                    and np.array_equal(label, masks[request.image])
                ]
                counts.update(matching[:1] if request.model == self.models[0] else ())
                issue = None if matching else "is not what inference writes with the weights of that time"
            if issue is not None:
                lost.append(f"{request.kind} {request.image} for {request.model}: {issue}")
        self.answers_by_version = [counts[version] for version in range(len(self._versions))]
        return lost

    def _references(self) -> dict[str, list[tuple[float, float, dict[str, np.ndarray]]]]:
        """Return from when to when which masks were right, by model."""
        ends = [version.since for version in self._versions[1:]] + [float("inf")]
        found = {}
        for model in self.models:
            bundles = [(version.bundle, version.since, end) for version, end in zip(self._versions, ends, strict=True)]
            if model != self.models[0]:
                bundles = [(self.server.app / "model" / model, 0.0, float("inf"))]
            found[model] = [
                (since, until, self._segment(bundle, model, self.folder / f"{model}{number}"))
                for number, (bundle, since, until) in enumerate(bundles)
            ]
        return found

    def _segment(self, bundle: Path, model: str, folder: Path) -> dict[str, np.ndarray]:
        (folder / "images").mkdir(parents=True)
        for name in IMAGES[_dataset(model)]:
            (folder / "images" / name).symlink_to(self.server.studies / name)
        masks = run_inference(bundle, folder / "images", folder / "masks")
        return {path.name.split("_mask")[0]: read_label(path) for path in masks.glob("*_mask.*")}


def _dataset(model: str) -> str:
    return model.removesuffix("_segmentation")


def _write_labels(folder: Path) -> None:
    """Write good labels of the two pictures, which have the sizes of ``bundles.write_pictures``, and bad ones."""
    for name, size in {_LABELLED: (100, 120), _SPOILT: (75, 130)}.items():
        values = (picture(*size)[..., 0] > 120).astype(np.uint8)
        Image.fromarray(values).save(folder / f"{name}.png")
    values[:9, :9] = 7
    Image.fromarray(values).save(folder / "label of an unknown class.png")
    (folder / "damaged label.png").write_bytes((folder / f"{_SPOILT}.png").read_bytes()[:60])
