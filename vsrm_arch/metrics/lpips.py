"""LPIPS, the perceptual distance of Zhang et al. (CVPR 2018), by its authors' package (the extra ``metrics``)."""

import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from basicsr.metrics.metric_util import reorder_image
from basicsr.utils import img2tensor
from basicsr.utils.registry import METRIC_REGISTRY
from torch import nn

from vsrm_arch.errors import UserError, first_line
from vsrm_arch.metrics.frames import cropped

__all__ = ["calculate_lpips"]

_Net = Literal["alex", "vgg", "squeeze"]
_DEFAULT: _Net = "alex"
# The package's name of a network → torchvision's, whose weights it takes.
_TRUNKS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
# The smallest side of a frame that comes through the network.
_SMALLEST = {"alex": 31, "vgg": 16, "squeeze": 17}


@METRIC_REGISTRY.register()
def calculate_lpips(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int,
    input_order: Literal["HWC", "CHW"] = "HWC",
    net: _Net = _DEFAULT,
    better: Literal["lower"] = "lower",
) -> float:
    """LPIPS (version 0.1): how different two frames look, by the features of a network that classifies images.

    It runs on the GPU where there is one. The network is built once; torchvision downloads its weights on the first
    use.

    Args:
        img: A frame, BGR in [0, 255].
        img2: The truth, likewise.
        crop_border: Pixels left out along each border.
        input_order: "HWC" or "CHW".
        net: The network: "alex", by which LPIPS is usually given, "vgg" or "squeeze".
        better: Lower values are better; nothing else may stand here.

    Returns:
        The distance; 0 for equal frames.

    Raises:
        UserError: If the package or the weights are missing, or the frames are too small.
        ValueError: If the shapes differ.

    Example:
        >>> frame = np.zeros((64, 64, 3), np.uint8)
        >>> calculate_lpips(frame, frame, 0)
        0.0
    """
    pair = cropped(reorder_image(img, input_order), reorder_image(img2, input_order), crop_border)
    height, width = pair[0].shape[:2]
    if min(height, width) < _SMALLEST[net]:
        raise UserError(
            f"calculate_lpips: {height}x{width} pixels are too few for net: {net}, which takes {_SMALLEST[net]} and "
            "more on each side; leave that metric out"
        )
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    network = _network(net).to(device)
    ours, truth = (img2tensor(frame.astype(np.float32) / 127.5 - 1).unsqueeze(0).to(device) for frame in pair)
    with torch.no_grad():
        return network(ours, truth).item()


def _prepare(metric: Mapping[str, Any]) -> None:
    _network(metric.get("net", _DEFAULT))


calculate_lpips.prepare = _prepare


@lru_cache
def _network(net: str) -> nn.Module:
    try:
        from lpips import LPIPS
    except ImportError:
        raise UserError("calculate_lpips needs the package lpips: pip install 'vsrm-arch[metrics]'") from None
    from torchvision.models import get_model_weights

    url = get_model_weights(_TRUNKS[net])["IMAGENET1K_V1"].url
    path = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    # Weights are drawn before they are loaded: a training's random numbers are to be the same with and without.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # lpips 0.1.4 calls torchvision as it was until version 0.12.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torchvision\.models\._utils")
        try:
            network = LPIPS(net=net, verbose=False)
        except Exception as error:  # no connection, no room, a damaged file: each fails in its own way
            raise UserError(
                f"calculate_lpips: no weights of {_TRUNKS[net]} ({first_line(error)}); download {url} and save it as "
                f"{path}"
            ) from error
    # On the CPU: a process that only looks whether the weights are there needs no GPU.
    return network.requires_grad_(False)
