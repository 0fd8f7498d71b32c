"""Vision foundation models as prompt-free segmentation networks, one module per family."""

from common.teachers.registry import TEACHERS, build_teacher, find_family, suitable_scale

__all__ = ["TEACHERS", "build_teacher", "find_family", "suitable_scale"]
