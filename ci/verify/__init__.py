"""Whether bundles keep the rules of the MONAI Model Zoo; see ``ci/verify_bundle.py``. One module per kind of rule."""
