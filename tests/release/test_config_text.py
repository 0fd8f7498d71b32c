"""Keys of a config are set, dropped and renamed where they stand, and the rest stays as it was written."""

from __future__ import annotations

import pytest
import yaml
from monai.bundle import ConfigParser
from students import NAMES, bundle_of

from common.release.config_text import ConfigText, rename_modules
from common.release.configs import STAGES

TEXT = """# A config.
#
# Run:    python

imports:
- $import common.training.logs as logs

stage: train
size: 256                   # pixels
task: regions               # or capsule
net:                        # the student
  _target_: common.students.vit.ViTSegmenter
  depth: 12                 # blocks

# What follows is about training.
train:
  files: "$[1,
    2]"
  flow: {_target_: common.x.Y, size: 3,
    names: [ä, 'b']}     # of two
  steps:
  - first
  - {second: 2}
"""
RELEASED = "# A release.\n"


def changed(key: str, value: object) -> dict:
    """Return what MONAI makes of an override."""
    parser = ConfigParser(yaml.safe_load(TEXT))
    parser[key.replace("#", "::")] = value
    return parser.get()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("size", 128, "size: 128                   # pixels\n"),
        ("size", None, "size: null                   # pixels\n"),
        ("task", "capsule", "task: capsule\nnet:"),
        ("task", "$@stage + ': #1'", "task: '$@stage + '': #1'''\n"),
        ("net", {"_target_": "UNet", "sizes": [1, 2]}, "net:\n  _target_: UNet\n  sizes:\n  - 1\n  - 2\n\n# What"),
        ("net", "@other", "net: '@other'\n\n# What follows"),
        ("net::depth", 3, "  depth: 3                 # blocks\n"),
        ("net#depth", 3, "  depth: 3 "),
        ("net::width", 192, "  depth: 12\n  width: 192\n\n# What follows"),
        ("train::flow::size", 4, "flow: {_target_: common.x.Y, size: 4,\n    names: [ä, 'b']}     # of two\n"),
        ("train::flow::names", {"a": [1, "@b"]}, "names: {a: [1, '@b']}}     # of two\n"),
        ("train::files", ["a"], "  files: [a]\n  flow:"),
        ("train::steps::0", "last", "  - last\n  - {second: 2}\n"),
        ("train::steps::1::second", {"deep": True}, "  - {second: {deep: true}}\n"),
    ],
)
def test_a_key_is_set_and_the_rest_stays(key, value, expected):
    text = ConfigText(TEXT)
    text.set(key, value)
    assert expected in str(text)
    assert text.config() == changed(key, value)
    assert str(text).startswith("# A config.\n#\n# Run:    python\n\nimports:")


def test_a_key_is_dropped_with_all_that_it_holds():
    text = ConfigText(TEXT)
    text.drop("net")
    assert "task: regions               # or capsule\n\n# What follows is about training.\ntrain:" in str(text)
    text.drop("train")
    text.drop("absent")
    assert text.config().keys() == {"imports", "stage", "size", "task"}


def test_a_key_that_is_not_there_is_not_made():
    with pytest.raises(KeyError):
        ConfigText(TEXT).set("sizes", 1)


def test_the_head_is_replaced_and_other_comments_stay():
    text = ConfigText(TEXT)
    text.set_head(RELEASED)
    assert str(text) == RELEASED + TEXT[TEXT.index("\nimports:") :]
    bare = ConfigText("stage: train\n")
    bare.set_head(RELEASED)
    assert str(bare) == "# A release.\n\nstage: train\n"


def test_modules_are_renamed_in_values_alone():
    source = "# common.a\ncommon.key: [common.a.B, '$common.c', \"$f(common.d,\n  uncommon.e)\"]  # common.f\n"
    source += "x: 3\ny: common\nz: $import common\n"
    text = ConfigText(source)
    text.change_strings(lambda value: rename_modules(value, "scripts"))
    expected = source.replace("common.a.B", "scripts.a.B").replace("$common.c", "$scripts.c")
    expected = expected.replace("$import common", "$import scripts")
    assert str(text) == expected.replace("f(common.d", "f(scripts.d")


@pytest.mark.parametrize("name", NAMES)
def test_the_configs_of_the_bundles_are_understood(name):
    """Every key of a stage can be set to what it is, and nothing else changes."""
    for path in (bundle_of(name) / "configs" / f"{stage}.yaml" for stage in STAGES):
        text = ConfigText(path.read_text(encoding="utf-8"))
        config = text.config()
        for key, value in config.items():
            text.set(key, value)
        assert text.config() == config


def test_long_lines_are_broken_after_commas_and_say_the_same():
    source = """\
optimizer: {_target_: torch.optim.AdamW, params: $f(a), lr: [1, 2, 3]}  # the comment stays
steps:
- {_target_: "a, long, name", keys: [image, label], sizes: [10, 20, 30], mode: nearest, anti_aliasing: true}
plain: a line that is too long, and has commas of its own, in no mapping, which nothing may break up
"""
    text = ConfigText(source)
    text.wrap(48)
    assert text.config() == yaml.safe_load(source)
    lines = str(text).splitlines()
    assert lines[-1] == source.splitlines()[-1]
    assert all(len(line) <= 48 for line in lines[:-1])
    assert "    mode: nearest, anti_aliasing: true}" in lines
    assert sum("# the comment stays" in line for line in lines) == 1
    short = ConfigText(source)
    short.wrap(200)
    assert str(short) == source
