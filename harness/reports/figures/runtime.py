"""The figure of the time that training took."""

from __future__ import annotations

import pandas as pd

from harness.reports.figures.drawing import Drawn, Source, figure_kind, short_text


@figure_kind(
    "runtime",
    "Time to train",
    "Mean wall time of the populations that the runs trained in, whose members train at once; "
    "whiskers: shortest and longest.",
    missing="a run trained here to its end",
)
def runtime(source: Source) -> Drawn | None:
    """A bar per column and device."""
    import seaborn as sns

    data = pd.DataFrame(
        {
            "dataset": dataset,
            "column": column,
            "label": source.labels[column],
            "seed": run.seed,
            "device": short_text(run.environment.get("device", "device not recorded")),
            "seconds": run.wall_seconds,
        }
        for column in source.labels
        for (dataset, name), runs in source.histories.items()
        for run in runs
        if name == column
        and run.status == "finished"
        and run.origin == "trained"
        and run.wall_seconds is not None
    )
    if data.empty:
        return None
    longest = data["seconds"].max()
    unit, length = next(
        ((unit, length) for unit, length in (("h", 3600), ("min", 60)) if longest > 2 * length), ("s", 1)
    )
    numbers = data.groupby("column", sort=False).size()
    data["bar"] = [
        f"{label} ({numbers[column]})" for label, column in zip(data["label"], data["column"], strict=True)
    ]
    data["time"] = data["seconds"] / length
    devices = sorted(data["device"].unique())
    figure = source.empty(0.75 + 0.16 * len(numbers) * len(devices) + 0.12 * len(devices))
    axes = figure.subplots()
    sns.barplot(
        data,
        x="time",
        y="bar",
        hue="device",
        hue_order=devices,
        palette=source.look.palette,
        errorbar=("pi", 100),
        err_kws={"linewidth": 0.8},
        ax=axes,
    )
    axes.grid(visible=False, axis="y")
    axes.set(
        xlabel=source.look.wrapped(
            f"wall time [{unit}]; whiskers: shortest and longest; in brackets: runs", 0.6
        ),
        ylabel="",
    )
    handles, names = axes.get_legend_handles_labels()
    if own := axes.get_legend():
        own.remove()
    figure.legend(handles, names, loc="outside lower center")
    return Drawn(figure, data.drop(columns=["bar", "time"]))
