"""The figures of a report: SVG that takes its colours from the page, so that it suits a light and a dark one."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.evaluation.metrics import TITLES
from common.report.looks import TEXT, look_of, set_colours
from common.report.runs import Run, Study
from common.report.settings import REFERENCE, Setting, has_transfer_set, is_aside, place_of, title_of
from common.report.statistics import Estimate, estimate, main_settings

_SIZE = (5.0, 4.0)  # inches: small, so that the text can be read where the page is narrow
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), TEXT),
}


class Drawing(NamedTuple):
    """A figure and what it shows."""

    svg: str
    caption: str


def draw_against_labels(study: Study, metric: str) -> Drawing:
    """Draw a metric against the number of labels, or by method where there is only one number.

    Args:
        study: what is reported on.
        metric: ``dice`` or ``hd95``.
    """
    settings = main_settings(study)
    estimates = {setting: estimate(runs, metric) for setting, runs in settings.items()}
    numbers = list(dict.fromkeys(setting.num_labels for setting in settings))
    title = f"{_name_of(study, metric)}{_over_classes(study)}"
    shown = _shown(settings)
    if len(numbers) == 1:
        labels = next(iter(settings)).labels_in_print
        caption = f"{title} of each method with {labels} labelled images{shown}. {_error_bars(study)}"
        return Drawing(_draw_by_method(study, metric, estimates, f"{metric}-by-method", caption), caption)
    caption = f"{title} against the number of labelled images{shown}. {_error_bars(study)}"
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": metric}):
        figure, axes = _new_figure(_name_of(study, metric), "labelled images")
        for method, points in _by_method(estimates).items():
            places = [numbers.index(setting.num_labels) for setting, _ in points]
            _draw_line(axes, method, places, [each for _, each in points])
        axes.set_xticks(range(len(numbers)), ["all" if number is None else str(number) for number in numbers])
        return Drawing(_to_svg(figure, f"{metric}-labels", caption), caption)


def draw_against_transfer_size(study: Study, num_labels: int | None) -> Drawing | None:
    """Draw Dice against the size of the transfer set for one number of labels, if there are several sizes.

    Args:
        study: what is reported on.
        num_labels: of the runs to show.
    """
    ranks = {setting.lora_rank for setting in main_settings(study)}
    settings = {
        setting: runs
        for setting, runs in study.by_setting().items()
        if setting.num_labels == num_labels and setting.lora_rank in {*ranks, None}
    }
    sizes = [each.transfer_size for each in settings if has_transfer_set(each.method)]
    sizes = list(dict.fromkeys(sizes))
    if len(sizes) < 2:
        return None
    labels = next(iter(settings)).labels_in_print
    caption = (
        f"Dice{_over_classes(study)} against the size of the transfer set, with {labels} labelled images. "
        f"{_error_bars(study)} Horizontal lines: networks that use no transfer set."
    )
    estimates = {setting: estimate(runs, "dice") for setting, runs in settings.items()}
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": f"transfer-{labels}"}):
        figure, axes = _new_figure("Dice", "images in the transfer set")
        axes.set_title(f"{labels} labelled images", fontsize=11)
        levels = 0
        for method, points in _by_method(estimates).items():
            if not has_transfer_set(method):
                levels += 1
                _draw_level(axes, method, points[0][1], len(sizes) - 0.8 + 0.12 * levels)
            else:
                places = [sizes.index(setting.transfer_size) for setting, _ in points]
                _draw_line(axes, method, places, [each for _, each in points])
        axes.set_xticks(range(len(sizes)), ["all" if size is None else str(size) for size in sizes])
        return Drawing(_to_svg(figure, f"transfer-{labels}", caption), caption)


def _draw_by_method(study: Study, metric: str, estimates: dict[Setting, Estimate], name: str, caption: str) -> str:
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure, axes = _new_figure("", _name_of(study, metric))
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x", color=TEXT, alpha=0.15, linewidth=0.6)
        rows = [(setting, each.mean, each.sd) for setting, each in estimates.items() if each.mean is not None]
        for place, (setting, mean, sd) in enumerate(rows):
            colour, marker, line, _ = look_of(setting.method)
            if is_aside(setting.method):
                axes.axvline(mean, color=colour, linestyle=line, linewidth=1.2)
            look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 7, "linestyle": "none"}
            axes.errorbar(mean, place, xerr=sd, capsize=3, **look)
        axes.set_yticks(range(len(rows)), [setting.title for setting, *_ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        return _to_svg(figure, name, caption)


def _by_method(estimates: dict[Setting, Estimate]) -> dict[str, list[tuple[Setting, Estimate]]]:
    """Return what is defined, by method, in the order of tables."""
    found: dict[str, list[tuple[Setting, Estimate]]] = {}
    for setting, each in estimates.items():
        if each.mean is not None:
            found.setdefault(setting.method, []).append((setting, each))
    return dict(sorted(found.items(), key=lambda item: place_of(item[0])))


def _new_figure(y_title: str, x_title: str) -> tuple[Figure, Axes]:
    figure = Figure(_SIZE, layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.subplots()
    axes.patch.set_visible(False)
    axes.grid(visible=True, axis="y", color=TEXT, alpha=0.15, linewidth=0.6)
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title)
    return figure, axes


def _draw_line(axes: Axes, method: str, places: Sequence[int], estimates: Sequence[Estimate]) -> None:
    """Draw a method's means with error bars, a little beside those of the others."""
    colour, marker, line, beside = look_of(method)
    axes.errorbar(
        [place + beside for place in places],
        np.array([each.mean for each in estimates], float),
        yerr=None if all(each.sd is None for each in estimates) else np.array([each.sd for each in estimates], float),
        color=colour,
        marker=marker,
        markersize=4 if is_aside(method) else 6,
        linestyle=line,
        linewidth=2.4 if method == REFERENCE else 1.4,
        elinewidth=1.2,
        capsize=3,
        zorder=3 if method == REFERENCE else 2,
        label=title_of(method),
    )


def _draw_level(axes: Axes, method: str, each: Estimate, place: float) -> None:
    """Draw a method that has one value as a line across the axes, with its error bar at one place."""
    colour, marker, line, _ = look_of(method)
    line = line if is_aside(method) else "-."
    assert each.mean is not None  # see _by_method
    axes.axhline(each.mean, color=colour, linestyle=line, linewidth=1.4)
    look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "linestyle": line, "linewidth": 1.4}
    axes.errorbar([place], [each.mean], yerr=each.sd, capsize=3, label=title_of(method), **look)


def _name_of(study: Study, metric: str) -> str:
    return f"{TITLES[metric]} ({study.distance_unit}, lower is better)" if metric == "hd95" else "Dice"


def _over_classes(study: Study) -> str:
    return ", mean over classes," if len(study.classes) > 1 else ""


def _error_bars(study: Study) -> str:
    if len(study.description["seeds"]) == 1:
        return "One seed, so there are no error bars."
    return "Error bars: standard deviation over seeds."


def _shown(settings: dict[Setting, list[Run]]) -> str:
    size = next((each.transfer_size_in_print for each in settings if has_transfer_set(each.method)), None)
    rank = next((each.lora_rank for each in settings if each.lora_rank), None)
    parts = [f"{size} images in the transfer set"] if size else []
    parts += [f"LoRA rank {rank}"] if rank else []
    return f" ({', '.join(parts)})" if parts else ""


def _to_svg(figure: Figure, name: str, caption: str) -> str:
    """Return a figure as an SVG element for a page that may hold several.

    Args:
        figure: to be drawn.
        name: unique on the page; set before the ids of the figure's parts.
        caption: for those who cannot see it.
    """
    axes = figure.axes[0]
    handles, titles = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, titles, loc="outside lower center", ncols=2)
    file = io.StringIO()
    figure.savefig(file, format="svg")
    drawn = file.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'\bid="', f'id="{name}-', drawn)
    drawn = re.sub(r'(href="|url\()#', rf"\1#{name}-", drawn)
    drawn = set_colours(drawn)
    view_box = re.findall(r'viewBox="[^"]*"', drawn)[0]
    described = f'<svg role="img" aria-labelledby="{name}-title" {view_box} xmlns:xlink="http://www.w3.org/1999/xlink">'
    described += f'<title id="{name}-title">{html.escape(caption)}</title>'
    return re.sub(r"<svg[^>]*>", lambda _: described, drawn, count=1)
