"""Values on a command line: as YAML reads them, with paths as text."""

from __future__ import annotations

import math

import pytest
import yaml
from fire.parser import DefaultParseValue

from common.configs.values import read_value
from common.configs.written_values import write_value
from common.errors import InputError


class TestValues:
    @pytest.mark.parametrize(
        "text",
        ["false", "true", "True", "no", "on", "null", "~", "3", "-3", "+3", "0", "2.5", ".5", "2.", "1.0e-4",
         "abc", "a b", "'2024'", '"a: b"', "[a, b]", "{a: b}", "[1, [2, null]]", "{a: {b: [false]}}", "['q','v']",
         "[]", "{}", ".inf", "-.inf", "facebook/sam-vit-base", "AB12", "None of them"],
    )  # fmt: skip
    def test_are_what_a_config_file_would_have(self, text):
        value = read_value("key", text)
        expected = yaml.safe_load(text)
        assert (type(value), value) == (type(expected), expected)

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-4", 0.0001),
            ("1E5", 100000.0),
            ("2e+3", 2000.0),
            ("-.5", -0.5),
            ("[1e-4]", [0.0001]),
            ("None", None),
            ("[None]", [None]),
        ],
    )
    def test_are_numbers_and_null_where_users_mean_them(self, text, value):
        assert read_value("key", text) == value
        assert type(read_value("key", text)) is type(value)

    @pytest.mark.parametrize(
        "text",
        ["2024_01", "1_000", "010", "0x1F", "1:30", "2024-01-05", "1e", "e5", ".", "-", "=", "<<",
         "a: b", "- a", "# a", "&a", "*a", "!!int 3", "@epochs", "$None", "%more.yaml::epochs", "(a, b)"],
    )  # fmt: skip
    def test_are_text_where_users_mean_text(self, text):
        assert read_value("key", text) == text

    def test_not_a_number_is_read_as_such(self):
        assert math.isnan(read_value("key", ".nan"))

    def test_tuples_are_lists(self):
        assert read_value("key", "{'channels': (16, 32), 'norm': None}") == {"channels": [16, 32], "norm": None}
        assert read_value("percentiles", "(1, 99)") == [1, 99]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "is empty"),
            ("  ", "is empty"),
            ("[a", "begins like a list or a mapping"),
            ("[a] b", "begins like a list or a mapping"),
            ("{a: [1}", "begins like a list or a mapping"),
            ("{a:1}", "'a:1' has no value: write a space after the colon"),
            ("{1, 2}", "'1' has no value"),
            ("{a: 1, a: 2}", "a key is there twice"),
            ("[(16, 32]", "'(16'"),
            ("[!!python/name:os.system ]", "tag"),
        ],
    )
    def test_that_cannot_be_read_are_refused_with_their_key_in_one_line(self, text, said):
        with pytest.raises(InputError) as caught:
            read_value("train::key", text)
        assert str(caught.value).startswith("--train::key: ")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


class TestPaths:
    @pytest.mark.parametrize("key", ["output_dir", "dataset_dir", "bundle", "weights", "ckpt_path", "data::root"])
    @pytest.mark.parametrize("text", ["2024", "2024_01", "1e5", "null", "true", "[a]", "a, b", "a b", "$@bundle_root"])
    def test_stay_text_whatever_they_look_like(self, key, text):
        assert read_value(key, text) == text

    @pytest.mark.parametrize("key", ["output_dir", "initial_weights", "train#checkpoint#path"])
    def test_begin_at_home_with_a_tilde(self, key, monkeypatch):
        monkeypatch.setenv("HOME", "/home/ada")
        assert read_value(key, "~/runs") == "/home/ada/runs"
        assert read_value(key, "~") == "/home/ada"
        assert read_value(key, "a~") == "a~"

    @pytest.mark.parametrize("key", ["initial_weights", "unlabelled_dir", "teacher_outputs", "checkpoint_path"])
    def test_may_be_null_where_null_has_a_meaning(self, key):
        assert read_value(key, "null") is None
        assert read_value(key, "'null'") == "null"

    def test_are_not_empty(self):
        with pytest.raises(InputError, match="--dataset_dir: is empty; expected a path"):
            read_value("dataset_dir", "")

    def test_of_configs_may_be_several(self):
        files = ["configs/train.yaml", "configs/2024"]
        assert read_value("config_file", "['configs/train.yaml','configs/2024']") == files
        assert read_value("config_file", "configs/train.yaml,configs/2024") == files


def test_keys_that_are_lists_may_be_given_with_commas():
    assert read_value("lora_targets", "q_proj, v_proj") == ["q_proj", "v_proj"]
    assert read_value("lora_targets", "qkv") == "qkv"
    assert read_value("diffusion_channels", "16,32") == [16, 32]
    assert read_value("anything", "16,32") == "16,32"


@pytest.mark.parametrize("key", ["key", "output_dir", "initial_weights", "lora_targets", "version"])
@pytest.mark.parametrize(
    "value",
    ["", "2024", "2024_01", "false", "null", "None", "1e5", "[a", "[a, b]", "a, b", "it's", '"', "'a'", "a\\b", "a\nb",
     "(1, 2)", "é 漢", "\udce9", "@a", "x=y", "--flag", "-1", "#", "a#b", " a "],
)  # fmt: skip
def test_text_that_is_written_is_read_as_it_was_here_and_by_fire(key, value):
    text = write_value(key, value)
    if value.strip():
        assert read_value(key, text) == value
    assert DefaultParseValue(text) == value


@pytest.mark.parametrize(
    "value",
    [True, False, 0, -3, 2.5, 1e-5, 1e20, [], {}, [1, [2.5, None]], {"a": {"b": [True, "c", 'it\'s "x"', "2024_01"]}}],
)
def test_a_value_that_is_written_is_read_as_it_was_here_and_by_fire(value):
    text = write_value("key", value)
    for read in (read_value("key", text), DefaultParseValue(text)):
        assert (type(read), read) == (type(value), value)


def test_null_is_written_as_an_expression_since_monai_leaves_out_none():
    assert write_value("num_labels", None) == "$None"
