"""What a file holds, as far as its name and its first bytes tell."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from common.datasets.readers.dicom_signature import is_dicom
from common.datasets.readers.picture_formats import FORMATS, SUFFIXES

PICTURE = "picture"
NIFTI = "NIfTI volume"
DICOM = "DICOM file"
_SUFFIXES = {
    NIFTI: (".nii", ".nii.gz"),
    DICOM: (".dcm", ".dicom", ".ima"),
    "volume in two files": (".img", ".img.gz", ".hdr"),
    "NRRD volume": (".nrrd", ".nhdr"),
    "MetaImage volume": (".mha", ".mhd"),
    "FreeSurfer volume": (".mgh", ".mgz"),
    "MINC volume": (".mnc",),
    "HEIF picture": (".heic", ".heif", ".hif"),
    "camera's raw picture": (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".rw2"),
    "microscope's image": (".czi", ".lif", ".mrxs", ".ndpi", ".scn", ".svs", ".vsi"),
    "film": (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".wmv"),
    "picture of another format": (".exr", ".fit", ".fits", ".pcx", ".psd", ".qoi", ".sgi", ".svg", ".tga", ".xcf"),
    PICTURE: SUFFIXES,
}
_KINDS = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes}
_SURE_FORMATS = [name for name in FORMATS if name not in ("DIB", "PPM")]  # these two begin with a number or a letter


def kind_of(path: Path) -> str | None:
    """Return what an image file is, such as "picture" or "NIfTI volume"; None for a file that is no image.

    The name decides where its suffix is that of images. Other files are known by how they begin: DICOM, NIfTI and NRRD
    files, and pictures, go round under other names or without a suffix.

    Raises:
        OSError: if a file whose name does not tell cannot be opened.
    """
    name = path.name.lower()
    for start in (place for place, letter in enumerate(name) if letter == "."):  # ".nii.gz" comes before ".gz"
        if name[start:] in _KINDS:
            return _KINDS[name[start:]]
    if path.exists() and not path.is_file():
        return None  # to open a pipe would wait for someone to write into it
    return _kind_by_content(path)


def _kind_by_content(path: Path) -> str | None:
    if is_dicom(path):
        return DICOM
    with path.open("rb") as file:
        head = file.read(352)
        if head[344:348] in (b"n+1\0", b"ni1\0"):
            return NIFTI
        if head.startswith(b"NRRD000"):
            return "NRRD volume"
        if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
            return "HEIF picture"
        file.seek(0)
        try:
            with Image.open(file, formats=_SURE_FORMATS):
                return PICTURE
        except Exception:  # on bytes of anything else Pillow's plug-ins raise far more than UnidentifiedImageError
            return None
