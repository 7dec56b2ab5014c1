"""A region of a frame by several methods (Fig. 5)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from basicsr.metrics import calculate_psnr
from numpy.typing import NDArray

from vsrm_arch.figures.renditions import Image
from vsrm_arch.plotting import save_plot

__all__ = ["Region", "draw_crops", "most_different", "region_psnr"]

_ROWS = 2
_CROP_INCHES = 1.6


class Region(NamedTuple):
    """A rectangle of the enlarged frame, in pixels from its upper left corner."""

    x: int
    y: int
    width: int
    height: int

    def of(self, image: Image) -> Image:
        """The part of ``(H, W, 3)`` inside."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]

    def __str__(self) -> str:
        return ",".join(map(str, self))


def most_different(images: Sequence[Image], truth: Image | None, height: int, width: int) -> Region:
    """The region of a size in which the methods' mean squared errors lie farthest apart.

    Args:
        images: The methods' frames, ``(H, W, 3)``, at least two.
        truth: The true frame; None: the region in which the methods themselves vary most.
        height: Of the region; at most H.
        width: Of the region; at most W.
    """
    frames = [image.astype(np.float64) for image in images]
    if truth is None:
        spread = _sums(np.var(frames, axis=0), height, width)
    else:
        errors = [_sums(np.square(frame - truth), height, width) for frame in frames]
        spread = np.max(errors, axis=0) - np.min(errors, axis=0)
    y, x = np.unravel_index(spread.argmax(), spread.shape)
    return Region(int(x), int(y), width, height)


def _sums(values: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """The sum of ``(H, W, 3)`` over each rectangle of a size, by its upper left corner."""
    # Sums over rectangles from the image's corner: those over any other are four of them.
    sums: NDArray[np.float64] = cv2.integral(values.sum(2))
    below, above = sums[height:], sums[:-height]
    return below[:, width:] - below[:, :-width] - above[:, width:] + above[:, :-width]


def region_psnr(image: Image, truth: Image, region: Region, y_channel: bool) -> float:
    """PSNR inside a region, in dB; of the Y channel or of RGB."""
    parts = (np.ascontiguousarray(region.of(frame)) for frame in (image, truth))
    psnr: float = calculate_psnr(*parts, crop_border=0, test_y_channel=y_channel)
    return psnr


def draw_crops(
    path: Path, title: str, images: Mapping[str, Image], truth: Image | None, region: Region, y_channel: bool
) -> None:
    """Draws the whole frame with the region marked, and beside it the region by each method.

    Args:
        path: The picture.
        title: Under the whole frame.
        images: Method → ``(H, W, 3)``, BGR; the first is shown whole.
        truth: The true frame, for the PSNR under each method; None leaves it out.
        region: What is enlarged.
        y_channel: Whether the PSNR is that of the Y channel.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    columns = -(-len(images) // _ROWS)
    whole = next(iter(images.values()))
    height = _ROWS * (_CROP_INCHES + 0.4)
    crop_width = _CROP_INCHES * region.width / region.height
    whole_width = height * whole.shape[1] / whole.shape[0]
    figure = Figure(figsize=(whole_width + columns * (crop_width + 0.1), height + 0.2), layout="constrained")
    grid = figure.add_gridspec(_ROWS, 1 + columns, width_ratios=[whole_width, *[crop_width] * columns])
    axes = figure.add_subplot(grid[:, 0])
    axes.imshow(whole[..., ::-1])
    corner = (region.x - 0.5, region.y - 0.5)
    axes.add_patch(Rectangle(corner, region.width, region.height, fill=False, edgecolor="red", linewidth=1.5))
    axes.set_xlabel(title, fontsize=9)
    panels = [axes]
    for i, (name, image) in enumerate(images.items()):
        axes = figure.add_subplot(grid[i // columns, 1 + i % columns])
        axes.imshow(region.of(image)[..., ::-1], interpolation="nearest")
        psnr = None if truth is None or image is truth else region_psnr(image, truth, region, y_channel)
        axes.set_xlabel(name if psnr is None else f"{name}\n{psnr:.2f} dB", fontsize=9)
        panels.append(axes)
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])
    save_plot(figure, path)
