"""The figures of laws, each readable without the text beside it."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmc_jax import law
from mmc_jax.report import figures

_LABELS = {"L_inf": "Floor L_inf", "alpha": "Exponent alpha"}

# Deviances up to so many times that of the interval's ends are drawn.
_HIGHEST_DEVIANCE = 4


def points_and_laws(laws: Mapping[str, law.GroupLaw]) -> Figure:
    """Returns the points of all groups and their laws."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for found, name, color in _colored(laws):
        axes.scatter(found.costs, found.losses, s=12, color=color)
        figures.draw_law(
            axes, found.fit, name, found.costs, found.losses.min(), color
        )
    figures.label_laws(axes, "Cost", "Loss")
    axes.set_title("Points and their laws, L(P) = A P^-alpha + L_inf")
    return figure


def residuals(laws: Mapping[str, law.GroupLaw]) -> Figure:
    """Returns what each law leaves of each point, in percent of the loss."""
    figure, panels = _panels(len(laws), 1)
    for (found, name, color), axes in zip(
        _colored(laws), panels[:, 0], strict=True
    ):
        percent = 100 * np.log(found.losses / law.loss(found.fit, found.costs))
        axes.axhline(0, color="0.6", linewidth=1)
        axes.plot(found.costs, percent, "o", markersize=4, color=color)
        axes.set_xscale("log")
        axes.set_title(f"{name}: residuals; a trend speaks against the law")
        axes.set_ylabel("Residual of log loss (percent)", fontsize=9)
        axes.grid(alpha=0.25)
    panels[-1, 0].set_xlabel("Cost")
    return figure


def profiles(laws: Mapping[str, law.GroupLaw]) -> Figure:
    """Returns the profile likelihoods of floor and exponent."""
    figure, panels = _panels(len(laws), 2)
    for (found, name, color), row in zip(_colored(laws), panels, strict=True):
        for axes, (parameter, profile) in zip(
            row, found.profiles.items(), strict=True
        ):
            shown = profile.deviances <= _HIGHEST_DEVIANCE * profile.threshold
            axes.plot(
                profile.values[shown],
                # The digits below differ from one processor to another.
                np.round(profile.deviances[shown], 6),
                color=color,
                marker=".",
                markersize=3,
            )
            axes.axhline(profile.threshold, color="0.6", linestyle="--")
            axes.set_xlabel(_LABELS[parameter])
            axes.set_ylabel("Deviance")
            axes.set_title(
                f"{name}: {profile.low:.3g} to {profile.high:.3g}"
                if profile.identified
                else f"{name}: {parameter} not identified",
                fontsize=10,
            )
            axes.grid(alpha=0.25)
    figure.suptitle("Below the dashed line: not excluded at 95 percent")
    return figure


def forms(laws: Mapping[str, law.GroupLaw]) -> Figure:
    """Returns how far each form errs beyond the budgets it was fitted to."""
    figure, panels = _panels(len(laws), 1)
    for (found, name, _), axes in zip(
        _colored(laws), panels[:, 0], strict=True
    ):
        _draw_extrapolations(axes, found)
        axes.set_title(f"{name}: error of predicted losses")
    panels[-1, 0].set_xlabel("Largest budget fitted, share of the largest")
    return figure


def _draw_extrapolations(axes: Axes, found: law.GroupLaw) -> None:
    for i, score in enumerate(found.forms.values()):
        if not score.extrapolations:
            continue
        axes.plot(
            [e.share for e in score.extrapolations],
            [max(100 * e.mean_error, 1e-4) for e in score.extrapolations],
            marker="o",
            color=figures.COLORS[i % len(figures.COLORS)],
            label=score.form.replace("_", " "),
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(law.SHARES, [f"1/{1 / s:g}" for s in law.SHARES])
    axes.set_xlim(1.15 * max(law.SHARES), min(law.SHARES) / 1.15)
    axes.set_ylabel("Mean error (percent)", fontsize=9)
    axes.grid(alpha=0.25)
    if axes.lines:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="y", which="both", labelsize=8)
        axes.legend(fontsize=8, frameon=False)
    else:
        axes.annotate(
            "too few points below a share of the largest budget",
            (0.5, 0.5),
            xycoords="axes fraction",
            ha="center",
        )


def _panels(num_rows: int, num_columns: int) -> tuple[Figure, np.ndarray]:
    figure = Figure(
        figsize=(1 + (6.5 if num_columns == 1 else 4 * num_columns),
                 0.8 + 2.7 * num_rows),
        layout="constrained",
    )  # fmt: skip
    return figure, figure.subplots(num_rows, num_columns, squeeze=False)


def _colored(laws: Mapping[str, law.GroupLaw]):
    """Yields each law with its name and its colour."""
    for i, (name, found) in enumerate(laws.items()):
        yield found, name, figures.COLORS[i % len(figures.COLORS)]
