"""What mkdocs does beside: the front page is the README, and links to files of the repository stay out of the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Add the README as the front page."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/", "](", text)
    files.append(File.generated(config, "index.md", content=_unlink(text, ROOT / "docs")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Take the links off what is not part of the site."""
    return _unlink(markdown, (ROOT / "docs" / page.file.src_uri).parent)


def _unlink(text: str, folder: Path) -> str:
    """Turn links to files outside of docs into their text; pictures there go."""
    docs = ROOT / "docs"

    def replace(match: re.Match[str]) -> str:
        bang, words, target = match.groups()
        name = target.partition("#")[0]
        if "://" in target or not name or (folder / name).resolve().is_relative_to(docs):
            inside = "://" in target or not name or (folder / name).exists()
            return match[0] if inside else words
        return "" if bang else words

    return re.sub(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)", replace, text)
