"""The effective receptive field of a network: which pixels of a clip its output at one pixel hears (Fig. 6)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vsrm_arch.data.prepare.sample import TRAIN_SHOTS, VAL_SHOTS, render
from vsrm_arch.plotting import save_plot

__all__ = ["area_share", "draw", "effective_receptive_field", "sample_clips"]

_SHARES = (0.5, 0.95)
_DECADES = 4  # below the largest, what is smaller is black


def effective_receptive_field(network: Callable[[Tensor], Tensor], clips: Iterable[Tensor]) -> Tensor:
    """The mean of ``Σ_rgb |∂ y / ∂ x|``, y the sum of the output's pixel in the centre of the centre frame.

    An enlarged pixel has a fixed place within its input pixel; y sums over those of the input pixel in the centre.

    Args:
        network: ``(1, T, 3, H, W) -> (1, T, 3, scale·H, scale·W)``, differentiable.
        clips: At least one, ``(1, T, 3, H, W)``, all of one size.

    Returns:
        ``(T, H, W)``, float32, on the CPU: the gradient's size at each input pixel.

    Raises:
        ValueError: If there is no clip.

    Source: Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", NeurIPS
    2016; over clips as Ding et al., CVPR 2022, do over images.
    """
    total, count = None, 0
    for clip in clips:
        lq = clip.clone().requires_grad_()
        _, frames, _, height, width = lq.shape
        enlarged = network(lq)[:, frames // 2]
        scale = enlarged.shape[-1] // width
        rows, columns = (slice(side // 2 * scale, (side // 2 + 1) * scale) for side in (height, width))
        (gradient,) = torch.autograd.grad(enlarged[..., rows, columns].sum(), lq)
        sizes = gradient[0].float().abs().sum(1).cpu()
        total, count = sizes if total is None else total + sizes, count + 1
    if total is None:
        raise ValueError("no clip to look at")
    return total / count


def area_share(field: Tensor, share: float) -> float:
    """How large a square about the centre holds a share of what the output hears of the centre frame.

    Args:
        field: ``(T, H, W)``, of :func:`effective_receptive_field`.
        share: Of its sum over the centre frame, in (0, 1].

    Returns:
        The area of the smallest such square as a share of the frame, in (0, 1].

    Source: Ding et al., "Scaling Up Your Kernels to 31x31", CVPR 2022, Table 1.
    """
    frame = field[len(field) // 2].double()
    height, width = frame.shape
    row, column = height // 2, width // 2
    for radius in range(max(height, width) + 1):
        top, left = max(row - radius, 0), max(column - radius, 0)
        square = frame[top : row + radius + 1, left : column + radius + 1]
        if square.sum() >= share * frame.sum():
            return square.numel() / frame.numel()
    return 1.0


def sample_clips(count: int, num_frames: int, height: int, width: int) -> Iterator[Tensor]:
    """Clips of the built-in sample, rendered at the size of the input: ``(1, T, 3, H, W)``, RGB in [0, 1].

    Args:
        count: How many; there are nine different ones.
        num_frames: T.
        height: H.
        width: W.
    """
    shots = (*TRAIN_SHOTS, *VAL_SHOTS)
    for i in range(count):
        frames = [render(shots[i % len(shots)], t, num_frames, max(height, width)) for t in range(num_frames)]
        clip = torch.stack([torch.from_numpy(frame[:height, :width, ::-1].copy()) for frame in frames])
        yield clip.movedim(-1, 1).unsqueeze(0).float() / 255


def draw(path: Path, fields: Sequence[tuple[str, Tensor]]) -> None:
    """Draws the centre frames of fields side by side, each on a logarithmic scale that ends at its largest value.

    Args:
        path: The picture.
        fields: Names, and ``(T, H, W)`` of :func:`effective_receptive_field`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(fields) + 0.8, 3.6), layout="constrained")
    panels = figure.subplots(1, len(fields), squeeze=False)[0]
    for axes, (name, field) in zip(panels, fields, strict=True):
        frame = field[len(field) // 2]
        decades = (frame / frame.max().clamp(min=1e-30)).clamp(min=10.0**-_DECADES).log10()
        image = axes.imshow(decades, cmap="magma", vmin=-_DECADES, vmax=0)
        shares = ", ".join(f"{share:.0%} in {area_share(field, share):.1%}" for share in _SHARES)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(shares, fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.colorbar(image, ax=list(panels), shrink=0.8, label="log10 of the gradient's size")
    save_plot(figure, path)
