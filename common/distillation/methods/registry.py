"""The registry of methods, which pipeline, study, report and release read."""

from __future__ import annotations

from common.distillation.methods.base import Method, overlay
from common.errors import InputError

# The student of the reference lines: an ordinary network of 1.6 million parameters, trained like the others.
UNET = {
    "_target_": "UNet",
    "spatial_dims": 2,
    "in_channels": "@in_channels",
    "out_channels": "@num_classes",
    "channels": [16, 32, 64, 128, 256],
    "strides": [2, 2, 2, 2],
    "num_res_units": 2,
}

# fmt: off
_ALL = (
    Method(name="task_specific_kd", title="task-specific KD", config=overlay("task_specific_kd"), teacher="fine_tuned",
           transfer_set=True, prepares="student"),
    Method(name="task_agnostic_kd", title="task-agnostic KD", config=overlay("task_agnostic_kd"), teacher="published",
           transfer_set=True, prepares="encoder"),
    Method(name="mocov3", title="MoCo v3", config=overlay("mocov3"), transfer_set=True, prepares="encoder"),
    Method(name="mae", title="MAE", config=overlay("mae"), transfer_set=True, prepares="encoder"),
    Method(name="scratch", title="from scratch", config=overlay("scratch")),
    Method(name="real_images", title="task-specific KD on unlabelled images", config=overlay("real_images"),
           teacher="fine_tuned", beyond_budget=True, prepares="student"),
    Method(name="labelled_images", title="task-specific KD on the labelled images alone",
           config=overlay("labelled_images"), teacher="fine_tuned", labelled_share=1, prepares="student"),
    Method(name="synthetic_images", title="task-specific KD on synthetic images alone",
           config=overlay("synthetic_images"), teacher="fine_tuned", transfer_set=True, labelled_share=0,
           prepares="student"),
    Method(name="drawn_labels", title="task-specific KD on images drawn with their labels",
           config=overlay("drawn_labels"), teacher="fine_tuned", transfer_set=True, with_labels=True,
           prepares="student"),
    Method(name="unet_kd", title="task-specific KD into a U-Net", config=overlay("unet_kd"), teacher="fine_tuned",
           transfer_set=True, prepares="student", student_def=UNET),
    Method(name="unet", title="U-Net", config=None, student_def=UNET),
)
# fmt: on

METHODS: dict[str, Method] = {method.name: method for method in _ALL}  # in the order in which tables list them
PROPOSED = "task_specific_kd"  # the method that the others are compared with
# The paper's comparison, which a study makes by default: the others take other images, or another student.
_FURTHER = ("real_images", "labelled_images", "synthetic_images", "drawn_labels", "unet_kd")
COMPARED = tuple(name for name in METHODS if name not in _FURTHER)


def find_method(name: str) -> Method:
    """Return a method by its name.

    Raises:
        InputError: if there is none of this name.
    """
    if name not in METHODS:
        raise InputError(f"--method: there is no method {name}; the methods are {', '.join(METHODS)}")
    return METHODS[name]
