"""Vision foundation models as prompt-free segmentation networks, one module per family."""

from common.teachers.registry import TEACHERS, affordable_scale, build_teacher, find_family, suitable_scale

__all__ = ["TEACHERS", "affordable_scale", "build_teacher", "find_family", "suitable_scale"]
