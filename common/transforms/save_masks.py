"""Masks are written whole, or not at all."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from monai.data import MetaTensor
from monai.transforms import SaveImaged
from monai.utils import MetaKeys
from PIL import Image

from common.files.written import WrittenFiles


class SaveMaskd(SaveImaged):
    """Writes masks of pictures, named by what ``SaveImaged`` takes, under a temporary name that becomes theirs at last.

    MONAI's own writers write in place, so that a full disk leaves half a mask, and what the file system said is lost in
    the text of another error. This one leaves the earlier mask as it was, says why it cannot write, and notes the path
    in the metadata, as ``savepath_in_metadict`` does. It is a ``SaveImaged`` because MONAI Label, which writes by
    itself, leaves out each of these. What it did not write, such as a label or a mask that was corrected, it does not
    replace.
    """

    _files: WrittenFiles | None = None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write masks ``(1, ...)`` of class ids, uint8, and return the data.

        Raises:
            InputError: if a mask cannot be written, or somebody else's file has its name, as :class:`WrittenFiles` has
                it.
        """
        written = dict(data)
        if self._files is None:  # not before there is a mask, as the folder may not even be there
            layout: Any = self.saver.folder_layout  # MONAI's have an output_dir, and do not say so
            self._files = WrittenFiles(Path(layout.output_dir), "inference", "output_dir")
        for key in self.key_iterator(written):
            mask = written[key]
            path = Path(self.saver.folder_layout.filename(**self.saver.fname_formatter(mask.meta, self.saver)))
            self._files.refuse_foreign([path])
            with self._files.new_file(path) as fresh:
                self.write(mask, fresh)
            mask.meta[MetaKeys.SAVED_TO] = str(path)
        return written

    def write(self, mask: MetaTensor, path: Path) -> None:
        """Write one mask ``(1, W, H)`` as PNG to a path of any suffix."""
        Image.fromarray(mask[0].cpu().numpy().T).save(path, format="PNG")
