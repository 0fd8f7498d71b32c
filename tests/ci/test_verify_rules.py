"""Every rule of ``ci/verify`` is broken on purpose, in a copy of a bundle or in a release in miniature."""

from __future__ import annotations

import shutil

import pytest
from broken_bundles import (
    BROKEN,
    BROKEN_RELEASE,
    as_json,
    change_config,
    export_script,
    large,
    listed,
    metadata,
    onnx_of,
    tensor,
    write,
)
from integration import BUNDLES
from verify.rules import RULES, verify

RUN = ("network-format", "torchscript")  # the rules that take time


def names(cases: list) -> list[str]:
    return [f"{rule}-{number}" for number, (rule, *_) in enumerate(cases)]


class TestRules:
    def test_what_stages_wrote_is_no_part_of_a_bundle_but_of_a_release(self, release, monkeypatch):
        monkeypatch.setattr("verify.rules.RULES", {"file-names": RULES["file-names"]})
        write("runs/one/events.out.tfevents.1", "")(release)
        assert "runs/one/events.out.tfevents.1: found a file that is left over" in listed(release)
        source = release.parent / "source" / release.name
        shutil.copytree(BUNDLES / release.name, source, ignore=shutil.ignore_patterns("models", "eval"))
        for name in ("runs/one/events.out.tfevents.1", "masks/a b.png"):
            write(name, "")(source)
        assert listed(source) == ""

    @pytest.mark.parametrize(("rule", "breaking", "message"), BROKEN, ids=names(BROKEN))
    def test_a_broken_bundle_fails_with_the_rule(self, bundle, monkeypatch, rule, breaking, message):
        if rule not in RUN:
            monkeypatch.setattr("verify.rules.RULES", {name: each for name, each in RULES.items() if name not in RUN})
        breaking(bundle)
        text = listed(bundle)
        assert message in text
        assert {line.split(":")[0] for line in text.splitlines()} == {rule}

    @pytest.mark.parametrize(("rule", "breaking", "message"), BROKEN_RELEASE, ids=names(BROKEN_RELEASE))
    def test_a_broken_release_fails_with_the_rule(self, release, rule, breaking, message):
        breaking(release)
        text = listed(release)
        assert message in text
        assert {line.split(":")[0] for line in text.splitlines()} == {rule}

    def test_a_folder_of_another_name_fails(self, bundle):
        assert "file-names: .: found PH2" in listed(bundle.rename(bundle.with_name("PH2")))

    def test_every_rule_has_a_bundle_that_breaks_it(self):
        assert {rule for rule, *_ in BROKEN + BROKEN_RELEASE} == set(RULES)

    @pytest.mark.parametrize("stage", ["inference", "train", "evaluate"])
    def test_what_a_stage_lacks_in_one_format_it_does_not_have_in_the_other(self, bundle, stage):
        as_json(stage)(bundle)
        assert listed(bundle) == ""
        change_config(bundle, stage, lambda config: config.pop("device"))
        assert f"{stage}-keys: configs/{stage}.yaml: found no key device" in listed(bundle)
        as_json(stage, lambda config: config.pop("output_dir"))(bundle)
        assert f"{stage}-keys: configs/{stage}.json: found no key output_dir" in listed(bundle)

    def test_properties_are_named_alike_in_every_format(self, bundle):
        as_json("inference")(bundle)
        change_config(bundle, "inference", lambda config: config["evaluator"].update(postprocessing="@window"))
        text = listed(bundle)
        assert "property-names: configs/inference.yaml: found @window; expected @postprocessing" in text

    def test_all_issues_are_listed_at_once(self, bundle):
        for _, breaking, _ in (BROKEN[0], BROKEN[7], *(case for case in BROKEN if case[0] == "metadata-schema")):
            breaking(bundle)
        issues = verify(bundle)
        assert {"necessary-files", "file-size", "metadata-schema"} <= set(issues)
        assert len(issues["metadata-schema"]) == 9

    def test_metadata_of_another_kind_are_issues_and_no_failure(self, bundle):
        kinds = {"version": 1, "changelog": [], "required_packages_version": "einops", "eval_metrics": 0.9}
        metadata(lambda values: values.update(**kinds, network_data_format=[], copyright=None, schema=None))(bundle)
        issues = verify(bundle)
        assert set(issues) == {"metadata-schema", "version", "licence", "eval-metrics", "tensor-formats"}

    def test_a_release_in_order_keeps_them_all(self, release):
        export_script(release, release / "models/model.pt")
        assert listed(release) == ""

    def test_an_onnx_that_names_no_place_is_in_order(self, release):
        onnx_of("scripts/network.py")(release)
        assert listed(release) == ""

    @pytest.mark.parametrize(
        "code",
        ["def f():\n    import scipy\n", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import scipy\n"],
    )
    def test_what_a_module_is_loaded_without_need_not_be_installed(self, release, code):
        write("scripts/more.py", code)(release)
        assert listed(release) == ""

    @pytest.mark.parametrize("term", ["16*n", "2**p*n", "n", "(n + 1) * 16", "*", "32*n/2"])
    def test_sizes_may_be_terms(self, bundle, monkeypatch, term):
        monkeypatch.setattr("verify.rules.RULES", {"tensor-formats": RULES["tensor-formats"]})
        tensor("inputs", spatial_shape=[term, 16])(bundle)
        assert listed(bundle) == ""

    def test_weights_may_be_somewhere_else(self, release):
        large("large_files: [{path: models/model.pt, url: https://example.org/model.pt}]")(release)
        (release / "models/model.pt").unlink()
        assert listed(release) == ""

    def test_what_training_left_behind_is_not_part_of_a_bundle(self, bundle):
        write("models/checkpoints/train.pt.partial", "/home/jane")(bundle)
        assert listed(bundle) == ""
