"""The report as one self-contained page of HTML: figures and pictures are embedded, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from common.report.figures import Drawing, draw_against_labels, draw_against_transfer_size
from common.report.pictures import Example, Tile, draw_examples
from common.report.runs import Study
from common.report.sentences import explain, summary_lines
from common.report.settings import REFERENCE, is_aside, title_of
from common.report.tables import Table, all_metric_tables, size_table
from common.report.text import PHANTOM_WARNING, count_missing, describe_missing

_NAME_COLUMNS = ("method", "network")  # stay in sight where a table is scrolled


def write_page(study: Study, path: Path) -> None:
    """Write ``report.html``."""
    title = f"{study.name}: comparison of methods"
    style = resources.files("common.report").joinpath("page.css").read_text(encoding="utf-8")
    sections = [_head(study), _dice(study), _transfer_size(study), _hd95(study), _size(study), _examples(study)]
    body = "\n".join([*sections, _notes(study)])
    path.write_text(
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n",
        encoding="utf-8",
    )


def _head(study: Study) -> str:
    counts = {name: study.description[name] for name in ("labels", "transfer_sizes", "seeds")}
    facts = [
        f"{len(study.runs)} evaluations",
        f"labels {_listed(counts['labels'])}",
        f"transfer sets of {_listed(counts['transfer_sizes'])} images",
        f"seeds {_listed(counts['seeds'])}",
    ]
    parts = ["<header>", '<p class="kicker">Task-specific distillation, comparison of methods</p>']
    parts += [f"<h1>{escape(study.name)}</h1>", f'<p class="facts">{escape(" · ".join(facts))}</p>', "</header>"]
    if study.phantoms:
        parts.append(f'<p class="banner" role="note"><strong>Phantoms.</strong> {PHANTOM_WARNING}</p>')
    if study.missing:
        parts.append(
            f'<div class="banner" role="note"><p><strong>Partial.</strong> {count_missing(study)}</p>'
            f"{_bullets(describe_missing(study))}</div>"
        )
    lines = summary_lines(study)
    if lines:
        parts.append(f'<section aria-label="Summary" class="summary"><h2>In short</h2>{_bullets(lines)}</section>')
    return "\n".join(parts)


def _dice(study: Study) -> str:
    drawing = _figures([draw_against_labels(study, "dice")])
    return _section("Dice and number of labels", drawing + _tables(all_metric_tables(study, "dice")))


def _transfer_size(study: Study) -> str:
    budgets = dict.fromkeys(setting.num_labels for setting in study.by_setting())
    drawn = [draw_against_transfer_size(study, num_labels) for num_labels in budgets]
    drawings = [drawing for drawing in drawn if drawing]
    if not drawings:
        return _section(
            "Dice and size of the transfer set", "<p>There is only one size, so there is nothing to draw.</p>"
        )
    return _section("Dice and size of the transfer set", _figures(drawings))


def _hd95(study: Study) -> str:
    about = (
        "<p>95 % of the border points of prediction and label are closer to the other border than HD95. Dice measures "
        "how much of the area is right; HD95 measures how far the border is off.</p>"
    )
    drawing = _figures([draw_against_labels(study, "hd95")])
    return _section("Fine detail: HD95", about + drawing + _tables(all_metric_tables(study, "hd95")))


def _size(study: Study) -> str:
    return _section("Size and speed", _tables([size_table(study)], titled=False))


def _examples(study: Study) -> str:
    examples = draw_examples(study)
    if examples is None:
        return _section("Pictures", f"<p>Cases are chosen by {title_of(REFERENCE)}, of which no run is finished.</p>")
    about = (
        f"<p>The best, the median and the worst of {examples.measured} results of {escape(title_of(REFERENCE))} with "
        f"{escape(examples.labels)} labelled images, by its Dice. Chosen by one method, they are not a fair sample of "
        "the others. Beside each name is the Dice of this case.</p>"
        '<p class="key"><span><i class="both"></i>prediction and label agree</span>'
        '<span><i class="prediction"></i>only the prediction has it</span>'
        '<span><i class="label"></i>only the label has it</span>'
        '<span><i class="different"></i>they differ, where there are several structures</span></p>'
    )
    if not study.phantoms:
        about += "<p>These are images of the dataset: its terms say who may be shown this page.</p>"
    return _section("Pictures", about + "".join(_example(each) for each in examples.shown))


def _example(example: Example) -> str:
    tiles = "".join(_tile(tile, example.case) for tile in example.tiles)
    head = f"{example.rank.capitalize()}: {example.case}, seed {example.seed}"
    return f'<div class="example"><h3>{escape(head)}</h3><div class="tiles">{tiles}</div></div>'


def _tile(tile: Tile, case: str) -> str:
    dice = "" if tile.dice is None else f" <b>{tile.dice:.3f}</b>"
    picture = '<div class="absent">no picture</div>'
    if tile.picture:
        picture = f'<img src="{tile.picture}" alt="{escape(f"{case}, {tile.title}")}">'
    return f"<figure>{picture}<figcaption>{escape(tile.title)}{dice}</figcaption></figure>"


def _notes(study: Study) -> str:
    made_of = {
        "overlays": _listed(study.description.get("overlay") or []),
        "overrides": ", ".join(f"{key} {value}" for key, value in (study.description.get("overrides") or {}).items()),
        "LoRA ranks": _listed(study.description["lora_ranks"]),
    }
    rows = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in made_of.items() if value)
    rows += "<dt>every measurement</dt><dd>results.csv beside this page</dd>"
    return _section("How to read this", f"{_bullets(explain(study))}<dl>{rows}</dl>")


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>"


def _figures(drawings: Sequence[Drawing]) -> str:
    figures = [f"<figure>{each.svg}<figcaption>{escape(each.caption)}</figcaption></figure>" for each in drawings]
    return f'<div class="figures">{"".join(figures)}</div>'


def _tables(tables: Sequence[Table], titled: bool = True) -> str:
    return "".join(_table(table, titled) for table in tables)


def _table(table: Table, titled: bool) -> str:
    kinds = ["name" if name in _NAME_COLUMNS else "number" for name in table.head]
    head = "".join(
        f'<th scope="col" class="{kind}">{escape(name)}</th>' for name, kind in zip(table.head, kinds, strict=True)
    )
    rows = []
    for index, line in enumerate(table.rows):
        method = table.methods[index]
        row_kinds = ["ours" if method == REFERENCE else "aside" if is_aside(method) else ""]
        if table.head[0] == "labels" and index and line[0] != table.rows[index - 1][0]:
            row_kinds.append("new")
        cells = "".join(f'<td class="{kind}">{escape(text)}</td>' for text, kind in zip(line, kinds, strict=True))
        rows.append(f'<tr class="{" ".join(row_kinds)}">{cells}</tr>')
    title = escape(table.title)
    caption = f"<caption>{title}</caption>" if titled else ""
    content = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    # Wide tables scroll, also by keyboard.
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">{content}</div>{notes}'


def _bullets(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _listed(values: Sequence[object]) -> str:
    return ", ".join("all" if value is None else str(value) for value in values)
