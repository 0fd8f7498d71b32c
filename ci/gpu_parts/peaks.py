"""The bf16 peak of GPUs, as their makers state it."""

from __future__ import annotations

# Dense products of bf16 matrices with sums in float32, in 10^12 FLOP/s, from the makers' data sheets: by a part of the
# name that PyTorch gives, the first that fits. Sheets often print twice as much, for matrices that are half zeros.
PEAKS = {
    "GB200": 2500.0,
    "B200": 2250.0,
    "H200 NVL": 835.0,
    "H200": 989.0,
    "GH200": 989.0,
    "H100 NVL": 835.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "H800": 989.0,
    "A100": 312.0,
    "A800": 312.0,
    "A30": 165.0,
    "A40": 149.7,
    "A10G": 70.0,
    "A10": 125.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "RTX 6000 Ada": 364.2,
    "RTX A6000": 154.8,
    "RTX 5090": 209.5,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}
_OTHERS = {"Laptop", "D", "Ti", "SUPER"}  # of the same name and slower, or faster


def stated_peak(name: str) -> float | None:
    """Return the stated peak of a device in 10^12 FLOP/s; None where this project does not know it.

    Args:
        name: as ``torch.cuda.get_device_name`` returns it, such as ``NVIDIA H100 80GB HBM3``.
    """
    words = name.replace("-", " ").split()
    if _OTHERS.intersection(words):
        return None
    for part, peak in PEAKS.items():
        wanted = part.split()
        if any(words[start : start + len(wanted)] == wanted for start in range(len(words))):
            return peak
    return None
