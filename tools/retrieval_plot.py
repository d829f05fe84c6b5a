"""Recall against queries a second, as a picture: a line for each contender, ours in strong colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from mixline.tools.retrieval_curves import Curve

OURS = {
    "mixline_ivf": "#c0392b",
    "mixline_graph": "#1f618d",
    "mixline_int8": "#1e8449",
    "mixline_int8_estimates": "#58b27c",
    "mixline_int4_estimates": "#b9770e",
    "mixline_float": "#111111",
}
THEIRS = ("#a3a3a3", "#b39bc8", "#8fb8d6", "#d8a48f", "#9bbf85", "#c9b458", "#555555", "#c08fb0", "#5d6d7e", "#a0785a")
MARKS = "osD^vP*X<>"
MISS_MIN, MISS_MAX = 3e-4, 0.5  # what the axis shows; exact ones stand at its right end
TICKS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)


def plot(file: Path, curves: Sequence[Curve], title: str) -> None:
    """Write a PNG. The axis of recall is logarithmic in what is missed."""
    figure, axes = pyplot.subplots(figsize=(10, 6.2), dpi=120, layout="constrained")
    peers = [one.name for one in curves if not one.ours]
    for one in sorted(curves, key=lambda one: one.ours):
        points = sorted(
            (max(1.0 - point.recall, MISS_MIN), point.queries_per_s)
            for point in one.points
            if 1.0 - point.recall <= MISS_MAX
        )
        if not points:
            continue
        place = peers.index(one.name) if one.name in peers else 0
        axes.plot(
            [miss for miss, _ in points],
            [speed for _, speed in points],
            label=one.name,
            color=OURS.get(one.name, "#c0392b") if one.ours else THEIRS[place % len(THEIRS)],
            marker="o" if one.ours else MARKS[place % len(MARKS)],
            markersize=5,
            linewidth=2.2 if one.ours else 1.2,
            linestyle="-" if one.ours else "--",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(MISS_MAX, MISS_MIN * 0.8)
    axes.xaxis.set_major_locator(FixedLocator([*(1.0 - one for one in TICKS), MISS_MIN]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda miss, _: "1" if miss <= MISS_MIN else f"{1.0 - miss:.4g}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda speed, _: f"{speed:,.0f}" if speed >= 1 else f"{speed:g}"))
    axes.set_xlabel("recall")
    axes.set_ylabel("queries per second, one thread")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(True, which="major", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    lines, names = axes.get_legend_handles_labels()
    order = sorted(range(len(names)), key=lambda at: names[at] in peers)  # ours first
    axes.legend(
        [lines[at] for at in order],
        [names[at] for at in order],
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
    )
    figure.savefig(file)
    pyplot.close(figure)
