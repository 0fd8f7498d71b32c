"""Whether bundles keep the rules of the MONAI Model Zoo: python ci/verify_bundle.py bundles/drive_segmentation dist/…

A bundle is one of this repository or a release. All issues of all bundles are listed, each with the rule that it
breaks; the exit code is 1 if there is any. Nothing is downloaded, and nothing is written into a bundle. The rules are
in ``ci/verify``.

What the Zoo's own continuous integration asks of a bundle (ci/verify_bundle.py and ci/get_bundle_requirements.py of
github.com/Project-MONAI/model-zoo, and its CONTRIBUTING.md), and the rule that asks it here:

- LICENSE and configs/metadata.json are there: necessary-files
- models/model.pt and configs/inference.(json|yaml|yml) are there: preferred-files, the weights in a release only
- every file of large_files.(yml|yaml|json) can be had, and has the checksum given: large-files, of what is on disk
- no other file is larger than 25 MB: file-size
- version and changelog are in the metadata, and the version in the changelog: version
- the metadata fit the schema that they name (monai.bundle.verify_metadata): metadata-schema, with a copy of the schema
- monai_version, pytorch_version, numpy_version and required_packages_version can be given to pip: packages
- the network takes and gives what the metadata say (monai.bundle.verify_net_in_out): network-format
- the weights can be exported (monai.bundle.ckpt_export), and models/model.ts can be loaded: torchscript
- keys have the names that MONAI FL, Label and Deploy look for (CONTRIBUTING.md, ConfigWorkflow.check_properties):
  inference-keys, train-keys, evaluate-keys, property-names
- no path tells who made the bundle: personal-paths; of a bundle of one's own images, which is used where it is, the
  folder of the images is a note, and of its release an issue
- a name made of the data and the task: file-names; a page, a licence of the data: documents; a licence: licence

The Zoo takes a config as JSON or as YAML. Where a bundle has both, each is looked at, and they say the same:
config-formats.

Not asked here: that the version is new in the Zoo's list of models, the properties of supported_apps (no bundle names
any), a unit test in the Zoo's repository, black, isort, flake8 and mypy on a release's scripts, and TensorRT.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from verify.bundle import Bundle
from verify.paths import own_paths
from verify.rules import RULES, verify


def main() -> None:
    """Verify the bundles that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE", help="folder of a bundle or a release")
    bundles = parser.parse_args().bundles
    strangers = [str(bundle) for bundle in bundles if not (bundle / "configs").is_dir()]
    if strangers:
        sys.exit(f"error: {', '.join(strangers)}: no bundle; expected a folder with configs/")
    broken = False
    for bundle in bundles:
        own = own_paths(Bundle(bundle.resolve()))
        if own:
            print(
                f"{bundle}: note: its configs name {' and '.join(own)}, which is right at home. Before sharing the "
                "bundle, set dataset_dir: /data/images in docs/facts.yaml, render it again (the head of that file says "
                "how) and delete docs/labels.png; or share a release, which has neither",
                flush=True,
            )
        issues = verify(bundle)
        broken |= bool(issues)
        for rule, found in issues.items():
            for issue in found:
                print(f"{bundle}: {rule}: {issue.file}: found {issue.found}; expected {issue.expected}", flush=True)
        if not issues:
            print(f"{bundle}: all {len(RULES)} rules are kept", flush=True)
    sys.exit(int(broken))


if __name__ == "__main__":
    main()
