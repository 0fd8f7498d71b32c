"""No path tells who made a bundle: not in its configs, pages and modules, nor in the exports of its network."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator

import onnx
import yaml
from google.protobuf.message import DecodeError, Message

from verify.bundle import Bundle, Issue

GRAPH = "models/model.onnx"
# Top folders that hold homes of users, mounted disks, containers and temporary files; the Zoo's own example is the
# folder data of a workspace.
_TOP_FOLDERS = ("home", "Users", "root", "mnt", "media", "scratch", "tmp", "private", "var/folders", "var/tmp")
_TOP_FOLDERS += (r"workspace(?!/data\b)",)
_DRIVE = r"[A-Za-z]:(?:\\+|/(?!/))(?=\w)"  # of Windows
_PERSONAL = re.compile(
    rf"(?<![\w./])(?:file://[\w.-]*)?(?:/(?:{'|'.join(_TOP_FOLDERS)})(?![\w-])|~/|{_DRIVE})[\w./\\-]*"
)
_SOURCE_PATH = re.compile(r"(?<![\w./])/[\w./+-]+\.py")  # where a network was written, as exports of it may say
_FACTS = "docs/facts.yaml"  # of a bundle of one's own
_OWN_KEYS = ("dataset_dir", "pretrained")
_TEXTS = (".json", ".yaml", ".yml", ".md", ".txt", ".py", ".conf")


def personal_paths(bundle: Bundle) -> Iterator[Issue]:
    own = [_as_written(path) for path in own_paths(bundle)]
    for name in bundle.files:
        if name.split("/")[0] in ("configs", "docs", "models", bundle.package) and name.endswith(_TEXTS):
            text = (bundle.root / name).read_text(encoding="utf-8")
            for path in own:
                text = path.sub("", text)
            yield from _search(name, text, _PERSONAL)
    for name, text in _exported_texts(bundle):
        yield from _search(name, text, _PERSONAL, _SOURCE_PATH)


def own_paths(bundle: Bundle) -> list[str]:
    """Return the paths that a bundle of one's own images needs at home, and that a release of it must do without."""
    file = bundle.root / _FACTS
    if bundle.is_release or not file.is_file():
        return []
    facts = yaml.safe_load(file.read_text(encoding="utf-8"))
    paths = [str(facts.get(key)) for key in _OWN_KEYS] if isinstance(facts, dict) else []
    return [path for path in paths if _PERSONAL.match(path)]


def _as_written(path: str) -> re.Pattern[str]:
    """Return what finds a whole path in YAML, JSON or a page: characters may be escaped, and lines broken."""

    def one(character: str) -> str:
        if character.isspace():
            return r"[\s\\]+"
        escaped = re.escape(character)
        return rf"(?:{escaped}|(?:\\[xuU][0-9A-Fa-f]+)+)" if not character.isascii() else rf"\\?{escaped}"

    line_break = r"(?:\\\n *)?"  # YAML has it after what it escapes
    joined = line_break.join(map(one, " ".join(path.rstrip("/").split()))).replace("'", "''?")
    return re.compile(rf"(?<![\w./]){joined}/?(?![\w-]|\.\w|[/\\]+\w)")


def _search(name: str, text: str, *patterns: re.Pattern[str]) -> Iterator[Issue]:
    for path in sorted({match[0] for pattern in patterns for match in pattern.finditer(text)}):
        yield Issue(name, path, "a path below @bundle_root, or one that names nobody, such as /data")


def _exported_texts(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """Yield what can be read in the exports of a network, with a name of the place; not its weights."""
    script = bundle.root / "models/model.ts"
    if script.is_file() and zipfile.is_zipfile(script):
        with zipfile.ZipFile(script) as archive:
            for member in archive.namelist():
                if not re.search(r"/(data|constants)/\d+$", member):
                    yield f"models/model.ts:{member}", archive.read(member).decode("utf-8", errors="replace")
    graph = read_graph(bundle)
    if graph is not None:
        yield from ((GRAPH, text) for text in _message_texts(graph))


def read_graph(bundle: Bundle) -> onnx.ModelProto | None:
    """Return the network in ONNX, or None where there is none that can be read."""
    try:
        return onnx.load(bundle.root / GRAPH, load_external_data=False)
    except (FileNotFoundError, DecodeError):
        return None


def _message_texts(message: Message) -> Iterator[str]:
    for kind, value in message.ListFields():
        for item in [value] if isinstance(value, (str, bytes, int, float, Message)) else value:
            if isinstance(item, Message):
                yield from _message_texts(item)
            elif isinstance(item, str):
                yield item
            elif isinstance(item, bytes) and kind.name != "raw_data":
                yield item.decode("utf-8", errors="replace")
