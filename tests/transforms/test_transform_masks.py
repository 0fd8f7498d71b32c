"""From logits to the mask that is written."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import AsDiscreted

from common.transforms.masks import ClassIdsd, LosslessLabeld


@pytest.mark.parametrize(
    ("request_of", "changes"),
    [
        ({"image_path": "a/b.jpg"}, {"result_extension": ".png"}),
        ({"image_path": "a/b.v2.JPEG", "result_extension": None}, {"result_extension": ".png"}),
        ({"image_path": "a/b.jpg", "result_extension": ".nrrd"}, {}),
        ({"image_path": "a/b.jpg.tif"}, {}),
        ({"image_path": None}, {}),
        ({}, {}),  # no server's
    ],
)
def test_a_server_writes_no_class_ids_as_jpeg(request_of, changes):
    data = {"pred": torch.ones(2), **request_of}
    assert LosslessLabeld()(dict(data)) == {**data, **changes}


def test_one_hot_classes_become_ids_again():
    ids = torch.tensor([[[0, 2, 1], [1, 0, 0]]])
    encode = AsDiscreted("pred", argmax=False, to_onehot=3)
    written = ClassIdsd("pred")(encode({"pred": MetaTensor(ids)}))["pred"]
    assert written.dtype == torch.uint8
    assert torch.equal(written.as_tensor(), ids.to(torch.uint8))
