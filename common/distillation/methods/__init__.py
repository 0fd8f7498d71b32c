"""What prepares a student before it is fine-tuned: distillation, self-supervised pre-training, or nothing."""

from common.distillation.methods.base import Method
from common.distillation.methods.registry import COMPARED, METHODS, PROPOSED, UNET, find_method

__all__ = ["COMPARED", "METHODS", "PROPOSED", "UNET", "Method", "find_method"]
