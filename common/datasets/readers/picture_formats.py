"""The formats that a picture may have."""

from __future__ import annotations

import warnings

from PIL import Image

Image.init()
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # twice as many pixels are read, no more
# Left out are drawings, for which Pillow starts Ghostscript, icons, films, and stubs that it cannot decode.
_PICTURES = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
FORMATS = tuple(name for name in _PICTURES if name in Image.OPEN)  # for Image.open
SUFFIXES = frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)
EXAMPLES = ".png, .jpg, .tif, .bmp, .gif, .webp, .jp2"  # for messages: there are two dozen
