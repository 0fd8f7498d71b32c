"""A real MONAI Label server, and what a client asks of it by HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parents[2]
APP = ROOT / "monai_label_app"
MONAIBUNDLE = Path(sys.prefix) / "monailabel" / "sample-apps" / "monaibundle"  # MONAI Label's own
_STARTED_WITHIN = 180  # seconds
_FINISHED_WITHIN = 300


def environment(alone: bool = False) -> dict[str, str]:
    """Return the environment that the server and ``python -m monai.bundle run`` need.

    Args:
        alone: leave the repository out, as a release must be able to do without it.
    """
    path = {} if alone else {"PYTHONPATH": str(ROOT)}
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return {**kept, **path, "PATH": binaries, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}


def make_app(folder: Path, bundles: Sequence[Path], app: Path = APP) -> Path:
    """Copy an app, and bundle folders into its ``model`` folder, as a user does.

    Args:
        folder: new folder of the app.
        bundles: bundle folders, of the repository or released.
        app: ours, or MONAI Label's own.
    """
    shutil.copytree(app, folder, ignore=shutil.ignore_patterns("bin", "lib", "logs", "model", "__pycache__"))
    for bundle in bundles:
        shutil.copytree(bundle, folder / "model" / bundle.name)
    return folder


def monaibundle_conf(models: Iterable[str]) -> dict[str, str]:
    """Return the ``--conf`` with which MONAI Label's own app serves bundles that were copied into it."""
    return {"models": ",".join(models), "zoo_source": "github", "sam2": "false"}


class Server:
    """A running server. Requests raise ``requests.HTTPError`` where it does not answer with success."""

    def __init__(self, url: str, app: Path, studies: Path, log: Path) -> None:
        self.url = url
        self.pid: int | None = None
        self.app = app
        self.studies = studies
        self.log = log

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Return the answer, whatever its status."""
        return requests.request(method, f"{self.url}{path}", timeout=_FINISHED_WITHIN, **options)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.request("GET", path, params=query)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        answer = self.request("POST", path, json=body, params=query)
        answer.raise_for_status()
        return answer.json()

    def ask_label(self, model: str, image: str, **params: Any) -> requests.Response:
        """Ask for the label of an image of the datastore."""
        form = {"params": (None, json.dumps(params))}
        return self.request("POST", f"/infer/{model}", params={"image": image}, files=form)

    def infer(self, model: str, image: str, folder: Path, **params: Any) -> tuple[Path, dict[str, Any]]:
        """Return the label of an image of the datastore, saved under the name the server gives it, and its JSON."""
        answer = self.ask_label(model, image, **params)
        answer.raise_for_status()
        head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
        parts = {
            part.get_param("name", header="content-disposition"): part
            for part in BytesParser().parsebytes(head + answer.content).get_payload()
        }
        path = folder / parts["image"].get_filename()
        path.write_bytes(parts["image"].get_payload(decode=True))
        return path, json.loads(parts["params"].get_payload(decode=True))

    def submit(self, image: str, label: Path, tag: str = "final") -> None:
        """Save a corrected label of an image; those that are not final are not trained on."""
        with label.open("rb") as file:
            answer = self.request(
                "PUT", "/datastore/label", params={"image": image, "tag": tag}, files={"label": (label.name, file)}
            )
        answer.raise_for_status()

    def train(self, model: str, **params: Any) -> dict[str, Any]:
        """Train, and return the status that the server gives in the end."""
        task = self.post(f"/train/{model}", params)
        return self.wait("train", task["id"])

    def score(self, model: str) -> dict[str, Any]:
        """Score the images without a label, and return the status that the server gives in the end."""
        self.wait("scoring")
        return self.wait("scoring", self.post(f"/scoring/{model}")["id"])

    def wait(self, kind: str, task_id: str | None = None) -> dict[str, Any] | None:
        """Wait until a task, or every task of this kind, has ended."""
        deadline = time.monotonic() + _FINISHED_WITHIN
        while time.monotonic() < deadline:
            answer = self.request("GET", f"/{kind}/", params={"all": True})
            tasks = answer.json() if answer.ok else []
            left = [
                task for task in tasks if task["status"] in ("SUBMITTED", "RUNNING") and task_id in (None, task["id"])
            ]
            if not left:
                return next((task for task in tasks if task["id"] == task_id), None)
            time.sleep(0.3)
        raise TimeoutError(f"{kind} did not end:\n{self.printed()[-5000:]}")

    def printed(self) -> str:
        """Return what the server has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def serve(app: Path, studies: Path, alone: bool = False, **conf: Any) -> Iterator[Server]:
    """Start a server, wait until it answers, and end it and all its processes.

    Args:
        app: what :func:`make_app` made.
        studies: folder of images.
        alone: see :func:`environment`.
        conf: what is given as ``--conf``.
    """
    port = free_port()
    command = ["monailabel", "start_server", "--app", str(app), "--studies", str(studies)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    for key, value in conf.items():
        command += ["--conf", key, str(value)]
    server = Server(f"http://127.0.0.1:{port}", app, studies, app / "printed.log")
    with run_server(server, command, cwd=app, env=environment(alone)):
        yield server


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def run_server(server: Server, command: Sequence[str], **options: Any) -> Iterator[None]:
    """Start a server by a command, wait until it answers, and end it and all its processes.

    Args:
        server: where it will be.
        command: what starts it.
        options: of :class:`subprocess.Popen`.
    """
    with server.log.open("wb") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True, **options)
    server.pid = process.pid
    try:
        deadline = time.monotonic() + _STARTED_WITHIN
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if server.request("GET", "/info/").ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.3)
        else:
            raise RuntimeError(f"the server did not start:\n{server.printed()[-5000:]}")
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
