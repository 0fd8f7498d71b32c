"""A student at work, without MONAI and, as ONNX, without PyTorch: images in, masks and doubts out."""
