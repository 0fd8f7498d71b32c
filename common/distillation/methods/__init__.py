"""What prepares a student before it is fine-tuned: distillation, self-supervised pre-training, or nothing."""

from common.distillation.methods.base import Method
from common.distillation.methods.registry import METHODS, PROPOSED, UNET, find_method

__all__ = ["METHODS", "PROPOSED", "UNET", "Method", "find_method"]
