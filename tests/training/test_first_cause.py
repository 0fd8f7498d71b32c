"""The first cause of a failure is found behind whatever wraps it, and the machine's faults say what helps."""

from __future__ import annotations

import errno
import re

import pytest
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset

from common.errors import InputError, StageError
from common.training.first_cause import FirstCause, first_cause


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def wrapped(error: BaseException) -> BaseException:
    """Return an error as MONAI wraps it, several times."""
    for text in ("applying transform <LoadImaged>", "Failed to evaluate ConfigExpression", "Failed to instantiate"):
        error = raised(RuntimeError(text), error)
    return error


def refuse(item: object) -> object:
    raise InputError("scan.nii.gz: no image; copy it again")


def stumble(item: object) -> object:
    return {}["modality"]


def failure_in_worker(transform) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 PyTorch chooses the type
        list(DataLoader(Dataset([1], transform), num_workers=1))
    return wrapped(caught.value)


@pytest.mark.parametrize("error", [InputError("no images"), StageError("no images")])
def test_what_is_said_to_the_user_has_the_word(error):
    assert first_cause(wrapped(error)) == FirstCause("no images", is_known=True)


def test_an_input_error_has_the_word_over_what_it_explains():
    assert first_cause(wrapped(raised(InputError("a.png: no image"), OSError("truncated")))).text == "a.png: no image"


def test_an_error_while_another_is_handled_does_not_hide_it():
    def clean_up_badly() -> None:
        try:
            raise KeyError("first")
        finally:
            raise RuntimeError("second")

    with pytest.raises(RuntimeError) as caught:
        clean_up_badly()
    assert first_cause(caught.value).text == "KeyError: 'first'"


def test_errors_in_processes_that_load_data_are_read_from_their_text():
    assert first_cause(failure_in_worker(refuse)) == FirstCause("scan.nii.gz: no image; copy it again", is_known=True)
    assert first_cause(failure_in_worker(stumble)) == FirstCause("KeyError: 'modality'", is_known=False)


def failure_of(config: dict, key: str) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 MONAI chooses the type
        ConfigParser(config).get_parsed_content(key)
    return caught.value


def test_the_key_of_the_config_is_named():
    network = {"_target_": "torch.nn.Conv2d", "in_channels": "wide", "out_channels": 1, "kernel_size": 1}
    config = {"network_def": network, "train": {"network": "$@network_def.cuda()"}, "run": ["$@train::network"]}
    assert first_cause(failure_of(config, "run::0")).text.startswith("network_def: TypeError: ")


def test_where_the_run_itself_fails_no_key_is_named():
    assert first_cause(failure_of({"run": ["$1 / 0"]}, "run::0")).text == "ZeroDivisionError: division by zero"


def test_a_long_message_becomes_one_short_line():
    text = first_cause(raised(RuntimeError("a\n" * 5000))).text
    assert len(text) < 450
    assert "\n" not in text


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device (28)"),
            "no space left in /dev/shm.*--num_workers 0.*docker run --shm-size=2g",
        ),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's"),
            "no space left in /dev/shm.*--num_workers 0",
        ),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "was killed.*--num_workers 0"),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "was killed.*--num_workers 0"),
        (MemoryError(), "memory of this machine is too small.*smaller --batch_size"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has"),
            "memory of the GPU is too small.*smaller --batch_size",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left in /runs/drive: free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left in /runs/drive: free some space"),
        (OSError("100000 requested and 12784 written"), "no space left in /runs/drive: free some space"),
        (KeyboardInterrupt(), "interrupted; the same command goes on from there"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "nobody reads what is printed"),
    ],
)
def test_faults_of_the_machine_say_what_helps(error, expected):
    found = error if isinstance(error, (KeyboardInterrupt, BrokenPipeError)) else wrapped(error)
    cause = first_cause(found, place="/runs/drive")
    assert cause.is_known
    assert re.search(expected, cause.text), cause.text
