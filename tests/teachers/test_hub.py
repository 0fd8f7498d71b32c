"""Without a connection the hub is asked once, and never again."""

from __future__ import annotations

import ssl
from http.client import BadStatusLine
from urllib.error import HTTPError, URLError

import pytest
from huggingface_hub import constants
from transformers import SamModel

from common.errors import InputError
from common.teachers import build_teacher, hub, model_files


@pytest.fixture
def answer(monkeypatch):
    """Have the hub answer with an error; returns what it was asked."""
    asked = []

    def give(error: Exception) -> list[str]:
        def urlopen(request, timeout):
            asked.append(request.full_url)
            raise error

        monkeypatch.setattr(hub, "urlopen", urlopen)
        hub.is_reachable.cache_clear()
        return asked

    yield give
    hub.is_reachable.cache_clear()


@pytest.mark.parametrize(
    ("error", "reachable"),
    [
        (URLError(OSError("Name or service not known")), False),
        (TimeoutError("timed out"), False),
        (URLError(ssl.SSLError("unknown certificate")), True),
        (HTTPError("https://huggingface.co", 403, "Forbidden", None, None), True),
        (BadStatusLine("SSH-2.0"), True),
        (ValueError("unknown url type: 'hub.example.org'"), True),
    ],
)
def test_any_answer_is_one_and_no_answer_is_asked_for_once(answer, monkeypatch, error, reachable):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org")
    asked = answer(error)
    assert [hub.is_reachable(), hub.is_reachable()] == [reachable, reachable]
    assert asked == ["https://hub.example.org"]


def test_who_is_to_be_offline_asks_nobody(answer, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = answer(URLError(OSError("Name or service not known")))
    assert not hub.is_reachable()
    assert asked == []


def test_without_it_every_look_up_is_of_the_cache_alone(answer, monkeypatch):
    answer(URLError(OSError("Name or service not known")))
    local = []

    def look_up(*arguments, local_files_only, **options):
        local.append(local_files_only)

    def load(*arguments, local_files_only, **options):
        local.append(local_files_only)
        raise OSError("We couldn't connect")

    monkeypatch.setattr(model_files, "cached_file", look_up)
    monkeypatch.setattr(SamModel, "from_pretrained", load)
    with pytest.raises(InputError, match="check its name and your connection"):
        build_teacher("facebook/dinov2-small", 2)
    with pytest.raises(InputError, match="no SAM could be loaded from 'facebook/sam-vit-base'"):
        build_teacher("facebook/sam-vit-base", 2)
    assert local
    assert all(local)
