"""All files of a folder, whatever links and permissions there are in it."""

from __future__ import annotations

from pathlib import Path


class FolderWalk:
    """The files of a folder and of the folders below it.

    Links to folders are followed, after all folders that are none, and no folder is visited twice: links in a circle
    come to an end.

    Args:
        root: the folder.

    Attributes:
        folders: the files of each folder, sorted by name.
        hidden: files and folders whose names start with a dot, which are not looked into.
        closed: folders that could not be opened, with the reason.
    """

    def __init__(self, root: Path) -> None:
        self.folders: dict[Path, list[Path]] = {}
        self.hidden: list[Path] = []
        self.closed: dict[Path, str] = {}
        waiting, visited = [root], set()
        links: list[Path] = []
        while waiting or links:
            folder = waiting.pop() if waiting else links.pop()
            try:
                status, found = folder.stat(), sorted(folder.iterdir())
            except OSError as error:
                self.closed[folder] = f"{folder}: the folder cannot be opened ({error.strerror})"
                continue
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            self.hidden += [path for path in found if path.name.startswith(".")]
            shown = [path for path in found if not path.name.startswith(".")]
            inside = [path for path in shown if path.is_dir()]
            links = [path for path in reversed(inside) if path.is_symlink()] + links
            waiting += [path for path in reversed(inside) if not path.is_symlink()]
            self.folders[folder] = [path for path in shown if path not in inside]
