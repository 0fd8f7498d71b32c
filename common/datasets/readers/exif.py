"""The EXIF orientation of images, by which viewers turn them.

Images, labels and masks are all taken as their pixels are stored.
"""

from __future__ import annotations

from PIL import ExifTags, Image

# Pillow turns a TIFF by its orientation when it loads it, and no other format: these turn it back.
_TURN_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

SIDEWAYS = (5, 6, 7, 8)  # orientations that swap width and height


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1 where it has none. Loading a TIFF removes it."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged tag, on which Pillow raises nearly anything, and which viewers pass over
        return 1
    return int(orientation) if orientation in _TURN_BACK else 1


def turn_back(image: Image.Image, orientation: int) -> Image.Image:
    """Return the pixels as they are stored, of an image that was turned by its orientation."""
    if orientation == 1:
        return image
    turned = image.transpose(_TURN_BACK[orientation])
    turned.format = image.format
    return turned
