"""Temporal consistency: the warping error of Lai et al. (ECCV 2018) along the truth's motion."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
import torch
from basicsr.archs.arch_util import flow_warp
from basicsr.utils import img2tensor
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor

from vsrm_arch.errors import UserError
from vsrm_arch.metrics.frames import cropped

__all__ = ["calculate_warping_error"]

# DISOpticalFlow refuses smaller frames.
_SMALLEST = 12


@METRIC_REGISTRY.register()
def calculate_warping_error(
    img: Sequence[np.ndarray],
    img2: Sequence[np.ndarray],
    crop_border: int,
    better: Literal["lower"] = "lower",
) -> list[float]:
    """How much a clip changes along its motion: E_warp of Lai et al., "Learning Blind Video Temporal Consistency".

    For frames ``V_t`` and ``V_{t+1}`` of the clip, RGB in [0, 1], times 1000 as publications give it:

    ``E_t = 1000 · Σ_x M_t(x) · mean_c (V_t(x) - V_{t+1}(x + f_t(x)))² / Σ_x M_t(x)``

    ``f_t`` is the flow from frame t to frame t + 1 **of the truth**, so that all networks are measured along the same
    motion; ``V_{t+1}`` is read bilinearly. ``M_t(x)`` is 1 where ``x + f_t(x)`` lies inside the frame and, with ``b_t``
    the flow from frame t + 1 back to frame t, read there as well,

    ``|f_t(x) + b_t(x + f_t(x))|² ≤ 0.01 · (|f_t(x)|² + |b_t(x + f_t(x))|²) + 0.5``

    and 0 elsewhere: what is hidden in one of the frames, by the forward-backward criterion of Ruder et al., "Artistic
    Style Transfer for Videos" (GCPR 2016, eq. 5). Their criterion of motion boundaries is not used: what flickers there
    counts. A pair of which nothing is left, as at a cut, counts 0.

    The flow is OpenCV's DIS (Kroeger et al., ECCV 2016), preset "medium", refined up to the frames' own resolution.
    Lai et al. use FlowNet2: their figures and these cannot be compared. Versions of OpenCV differ in the fourth digit.

    The truth's own value, ``calculate_warping_error(truth, truth, 0)``, is what its noise and faults of the flow make.
    Blur makes it lower, so that bicubic enlargement has a low one: it is to be read beside PSNR or LPIPS.

    Args:
        img: The clip, T frames ``(H, W, 3)``, BGR in [0, 255].
        img2: The truth, likewise.
        crop_border: Pixels left out along each border, before anything else.
        better: Lower values are better; nothing else may stand here.

    Returns:
        ``E_1, …, E_{T-1}``, a value for each pair of neighbouring frames, computed on the CPU.

    Raises:
        UserError: If there are fewer than two frames, or the border leaves nothing of them.
        ValueError: If the shapes differ.

    Example:
        >>> frame = np.zeros((16, 16, 3), np.uint8)
        >>> calculate_warping_error([frame, frame + 255], [frame, frame], 0)
        [1000.0]
    """
    if len(img) < 2 or np.ndim(img[0]) != 3:
        raise UserError(
            "calculate_warping_error compares neighbouring frames: give it clips of at least two; of the models, "
            "RecurrentVSRModel does"
        )
    pairs = [cropped(ours, truth, crop_border) for ours, truth in zip(img, img2, strict=True)]
    errors = []
    for (ours, truth), (next_ours, next_truth) in pairwise(pairs):
        flow = _flow(truth, next_truth)
        visible = _visible(flow, _flow(next_truth, truth))
        squares = (_tensor(ours) - flow_warp(_tensor(next_ours), flow)).square().mean(1)
        errors.append(1000 * float((squares * visible).sum() / visible.sum().clamp(min=1)))
    return errors


calculate_warping_error.takes_clips = True


def _tensor(frame: np.ndarray) -> Tensor:
    """``(1, 3, H, W)`` in [0, 1]."""
    return img2tensor(frame.astype(np.float32) / 255).unsqueeze(0)


def _flow(first: np.ndarray, second: np.ndarray) -> Tensor:
    """``(1, H, W, 2)``, in pixels (x, y): where the pixels of the first frame are in the second."""
    height, width = first.shape[:2]
    right, below = max(_SMALLEST - width, 0), max(_SMALLEST - height, 0)
    greys = []
    for frame in (first, second):
        grey = cv2.cvtColor(frame.round().clip(0, 255).astype(np.uint8), cv2.COLOR_BGR2GRAY)
        greys.append(cv2.copyMakeBorder(grey, 0, below, 0, right, cv2.BORDER_REPLICATE))
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(0)
    # OpenCV's stubs know nothing of starting without a flow.
    flow = estimator.calc(greys[0], greys[1], None)  # type: ignore[call-overload, unused-ignore]
    return torch.from_numpy(flow[:height, :width]).unsqueeze(0)


def _visible(flow: Tensor, back: Tensor) -> Tensor:
    """M, ``(1, H, W)``: 1 where the flow leads into the frame and the flow back from there returns, else 0."""
    returned = flow_warp(back.movedim(-1, 1), flow).movedim(1, -1)
    lengths = flow.square().sum(-1) + returned.square().sum(-1)
    returns = (flow + returned).square().sum(-1) <= 0.01 * lengths + 0.5
    # What lies outside reads as zero; a border pixel that misses the border by a rounding error does not count as such.
    inside = flow_warp(torch.ones_like(flow[..., :1]).movedim(-1, 1), flow)[:, 0] > 0.99
    return (returns & inside).float()
