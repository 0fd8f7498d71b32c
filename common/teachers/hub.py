"""Whether the hub can be asked: without a connection its client would try for half a minute for each file."""

from __future__ import annotations

import logging
import os
import ssl
from functools import cache
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

logger = logging.getLogger(__name__)

_ENDPOINT = "https://huggingface.co"
_PATIENCE = 5  # seconds


@cache
def is_reachable() -> bool:
    """Say whether the hub answers, also by way of a proxy; it is asked once in a process.

    ``HF_ENDPOINT`` in the environment names another hub, as it does for the hub's client, and ``HF_HUB_OFFLINE``
    has nobody asked.
    """
    from huggingface_hub import constants  # here because a student's stages do without it

    if constants.HF_HUB_OFFLINE:
        return False
    endpoint = os.environ.get("HF_ENDPOINT") or _ENDPOINT
    try:
        urlopen(Request(endpoint, method="HEAD"), timeout=_PATIENCE).close()
    except (HTTPError, HTTPException, ValueError):  # an answer, or an address that is none, which the client refuses
        return True
    except URLError as error:
        if isinstance(error.reason, ssl.SSLError):  # an answer, too: the client may have other certificates
            return True
        logger.info(f"{endpoint} cannot be reached ({error.reason}): weights of the hub must be on this machine")
        return False
    except OSError as error:  # such as no answer in time
        logger.info(f"{endpoint} cannot be reached ({error}): weights of the hub must be on this machine")
        return False
    return True
