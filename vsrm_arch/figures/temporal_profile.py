"""A row of pixels over time: steady motion draws smooth lines, flicker frays them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vsrm_arch.errors import UserError
from vsrm_arch.figures.renditions import Image, Rendition
from vsrm_arch.plotting import save_plot

__all__ = ["draw_profiles", "temporal_profile"]

_WIDTH_INCHES = 6.0
_STRIP_INCHES = 1.0


def temporal_profile(rendition: Rendition, row: int, columns: slice) -> Image:
    """The same row of each frame, the first on top.

    Args:
        rendition: A clip.
        row: In pixels from the top.
        columns: Which part of the row.

    Returns:
        ``(T, W, 3)``, BGR.

    Raises:
        UserError: If there is one frame alone, in which nothing can be seen over time.
    """
    if len(rendition.frames) < 2:
        raise UserError(
            f"{rendition.name} has one frame of the clip alone, which shows nothing over time; choose a longer clip, "
            "or set val:center_frame_only=false"
        )
    return np.stack([rendition.frame(number)[row, columns] for number in sorted(rendition.frames)])


def draw_profiles(
    path: Path, title: str, frame: Image, row: int, columns: slice, profiles: Mapping[str, Image]
) -> None:
    """Draws a frame with the row marked, and beside it the profiles, time downwards.

    Args:
        path: The picture.
        title: Under the frame.
        frame: ``(H, W, 3)``, BGR.
        row: Of the profiles.
        columns: Likewise.
        profiles: Method → ``(T, W, 3)`` of :func:`temporal_profile`.
    """
    from matplotlib.figure import Figure

    height = max(len(profiles) * (_STRIP_INCHES + 0.1), 2.0)
    frame_width = height * frame.shape[1] / frame.shape[0]
    figure = Figure(figsize=(frame_width + _WIDTH_INCHES, height + 0.3), layout="constrained")
    grid = figure.add_gridspec(len(profiles), 2, width_ratios=[frame_width, _WIDTH_INCHES])
    axes = figure.add_subplot(grid[:, 0])
    axes.imshow(frame[..., ::-1])
    left, right, _ = columns.indices(frame.shape[1])
    axes.plot([left, right - 1], [row, row], color="red", linewidth=1)
    axes.set_xlabel(title, fontsize=9)
    panels = [axes]
    for i, (name, profile) in enumerate(profiles.items()):
        axes = figure.add_subplot(grid[i, 1])
        # Few frames are stretched, so that lines over time can be seen.
        axes.imshow(profile[..., ::-1], aspect="auto", interpolation="nearest")
        axes.set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
        panels.append(axes)
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])
    save_plot(figure, path)
