"""The figure of a training: the loss on training and validation data by epoch."""

from collections.abc import Mapping
from typing import Any

from visionfm.figures.svg import FAINT, PALETTE, Panel, legend_below


def training(curves: Mapping[str, Any], loss: str = "loss") -> Panel | None:
    """Return the training panel from `{run: DataFrame(epoch, train_loss, validation_loss, best)}`; None if none."""
    drawn = {run: table for run, table in curves.items() if len(table)}
    if not drawn:
        return None
    legend = ["training", "validation", "epoch chosen on validation"]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        handles: list[Any] = []
        for table in drawn.values():
            lines = axes.plot(table["epoch"], table["train_loss"], color=FAINT, linewidth=1.3)
            lines += axes.plot(table["epoch"], table["validation_loss"], color=PALETTE[0])
            chosen = table[table["best"]]
            lines += axes.plot(chosen["epoch"], chosen["validation_loss"], "o", color=PALETTE[1], markersize=5)
            handles = lines
        runs = "" if len(drawn) == 1 else f", {len(drawn)} runs"
        axes.set(title=f"Training{runs}", xlabel="epoch", ylabel=loss)
        legend_below(figure, handles, legend)

    alt = "Loss on training and validation data by epoch. " + "; ".join(
        f"{run}: {(table['epoch'] > 0).sum()} epochs" for run, table in drawn.items()
    )
    return Panel("training", "Training", alt, draw, 3)
