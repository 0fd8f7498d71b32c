"""The report in Markdown: its tables, and what must be known to read them."""

from __future__ import annotations

from pathlib import Path

from common.report.runs import Study
from common.report.sentences import explain, summary_lines
from common.report.tables import all_metric_tables, size_table

PHANTOM_WARNING = (
    "These images are phantoms, drawn by a program. The figures show that every stage runs; they say nothing about "
    "patients, nor about which method is better on them."
)


def write_text(study: Study, path: Path) -> None:
    """Write ``table.md``."""
    parts = [f"# {study.name}: comparison of methods"]
    if study.phantoms:
        parts.append(f"> **Phantoms.** {PHANTOM_WARNING}")
    if study.missing:
        runs = "\n".join(f"> - {each}" for each in describe_missing(study))
        parts.append(f"> **Partial.** {count_missing(study)}\n>\n{runs}")
    parts += ["\n".join(f"- {line}" for line in lines) for lines in [summary_lines(study)] if lines]
    for table in (*all_metric_tables(study, "dice"), *all_metric_tables(study, "hd95"), size_table(study)):
        parts += [f"## {table.title}", table.to_markdown()]
    parts += ["## How to read this", "\n".join(f"- {line}" for line in explain(study))]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def count_missing(study: Study) -> str:
    """Say how much of a study is missing."""
    planned = f"{len(study.missing)} planned evaluations are not finished"
    if len(study.missing) == 1:
        planned = "One planned evaluation is not finished"
    return f"{planned}; everything below is without {'it' if len(study.missing) == 1 else 'them'}."


def describe_missing(study: Study) -> list[str]:
    """Return a line for each setting of which runs are missing."""
    seeds: dict[str, list[str]] = {}
    for setting, seed in study.missing:
        parts = [f"{setting.labels_in_print} labels"]
        if setting.transfer_size is not None:
            parts.append(f"{setting.transfer_size} transfer images")
        if setting.lora_rank is not None:
            parts.append(f"LoRA rank {setting.lora_rank}")
        seeds.setdefault(f"{setting.title}, {', '.join(parts)}", []).append(str(seed))
    return [f"{name}: seed{'s' if len(each) > 1 else ''} {', '.join(each)}" for name, each in seeds.items()]
