"""Latency against rate, as a picture: three percentiles, the deadline, the capacity, and where refusals begin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

LINES = (("p50_us", "p50", "#7fb3d5"), ("p99_us", "p99", "#1f618d"), ("p999_us", "p99.9", "#c0392b"))
GREY = "#555555"


def milliseconds(value: float, _place: int = 0) -> str:
    """A tick in plain words."""
    return f"{value:g} ms" if value < 1000 else f"{value / 1000:g} s"


def plot(file: Path, runs: Sequence[dict[str, Any]], capacity: float, deadline_ms: float, title: str) -> None:
    """Write a PNG of ``runs`` (:func:`mixline.tools.load_report.figures`), with goodput below."""
    runs = sorted((run for run in runs if run["sent"]), key=lambda run: run["rate"])
    rates = [run["rate"] for run in runs]
    figure, (top, below) = pyplot.subplots(
        2, 1, figsize=(9, 6.6), dpi=120, sharex=True, height_ratios=[3, 1.2], layout="constrained"
    )
    for key, name, colour in LINES:
        values = [run[key] / 1000 for run in runs]
        top.plot(rates, values, color=colour, marker="o", markersize=4, linewidth=1.8, label=name)
    top.axhline(deadline_ms, color=GREY, linewidth=1, linestyle="--")
    top.annotate(
        f"deadline {deadline_ms:g} ms",
        (0.005, deadline_ms),
        xycoords=("axes fraction", "data"),
        xytext=(2, 3),
        textcoords="offset points",
        color=GREY,
        fontsize=9,
    )
    top.set_yscale("log")
    top.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    top.yaxis.set_major_formatter(FuncFormatter(milliseconds))
    top.yaxis.set_minor_formatter(NullFormatter())
    top.set_ylabel("latency from the intended send")
    top.set_title(title, loc="left", fontsize=11, pad=26)
    mark_doubts(top, runs)
    top.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, frameon=False, borderaxespad=0.2)
    below.plot(rates, rates, color=GREY, linewidth=1, linestyle=":", label="offered")
    below.plot(
        rates,
        [run["goodput"] for run in runs],
        color="#1e8449",
        marker="o",
        markersize=4,
        linewidth=1.8,
        label="answered in time",
    )
    below.set_ylabel("goodput /s")
    below.set_xlabel("offered rate, requests per second (open loop)")
    below.legend(loc="upper left", frameon=False)
    below.set_ylim(bottom=0)
    below.set_xlim(left=0)
    for axes in (top, below):
        axes.axvline(capacity, color=GREY, linewidth=1)
        axes.grid(True, which="major", color="#e5e5e5", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    top.annotate(
        f"C = {capacity:,.0f}/s",
        (capacity, 0),  # below the curves, which rise towards it
        xycoords=("data", "axes fraction"),
        xytext=(-4, 4),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=GREY,
        fontsize=9,
    )
    figure.savefig(file)
    pyplot.close(figure)


def mark_doubts(axes: Any, runs: Sequence[dict[str, Any]]) -> None:
    """A ring around points at which the generator itself was the limit."""
    doubtful = [run for run in runs if run["generator"]["bottleneck"]]
    if doubtful:
        axes.plot(
            [run["rate"] for run in doubtful],
            [run["p99_us"] / 1000 for run in doubtful],
            linestyle="none",
            marker="o",
            markersize=11,
            markerfacecolor="none",
            markeredgecolor=GREY,
            label="generator was late",
        )
