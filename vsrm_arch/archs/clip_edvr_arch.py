"""EDVR (Wang et al., CVPR Workshops 2019), which is BasicSR's own, on whole clips."""

from typing import Literal

import torch
from basicsr.archs.edvr_arch import EDVR
from basicsr.data.data_util import generate_frame_indices
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from vsrm_arch.archs.recurrent import check_sizes
from vsrm_arch.sizes import SizeRequirements, pad_to

__all__ = ["ClipEDVR"]

Padding = Literal["replicate", "reflection", "reflection_circle", "circle"]

_SIZES = SizeRequirements(multiple_of=4)


@ARCH_REGISTRY.register()
class ClipEDVR(EDVR):
    """BasicSR's EDVR, which enlarges the centre frame of a window, on clips of any length and frames of any size.

    The defaults are the large model: 20,633,827 parameters. Published checkpoints load as they are.

    Args:
        num_feat: Channels of the features; a multiple of ``deformable_groups``.
        num_frame: Frames of a window; odd.
        deformable_groups: Groups of the deformable convolutions.
        num_extract_block: Residual blocks before the alignment.
        num_reconstruct_block: Residual blocks after the fusion.
        with_tsa: Whether attention over time and space fuses the aligned frames; without, a 1x1 convolution does.
        padding: What stands for frames beyond the ends of a clip, as BasicSR calls it: "replicate", "reflection",
            "reflection_circle" (frames from the other side of the window) or "circle".

    Raises:
        ValueError: If a size is below 1, ``num_frame`` is even, or ``deformable_groups`` does not divide ``num_feat``.
    """

    def __init__(
        self,
        num_feat: int = 128,
        num_frame: int = 5,
        deformable_groups: int = 8,
        num_extract_block: int = 5,
        num_reconstruct_block: int = 40,
        with_tsa: bool = True,
        padding: Padding = "reflection_circle",
    ) -> None:
        sizes = {"num_feat": num_feat, "num_frame": num_frame, "deformable_groups": deformable_groups}
        check_sizes(sizes | {"num_extract_block": num_extract_block, "num_reconstruct_block": num_reconstruct_block})
        if num_frame % 2 == 0:
            raise ValueError(f"num_frame is {num_frame}; it must be odd: the frame in the centre is enlarged")
        if num_feat % deformable_groups:
            raise ValueError(f"num_feat is {num_feat}; it must be a multiple of deformable_groups, {deformable_groups}")
        super().__init__(
            num_feat=num_feat,
            num_frame=num_frame,
            deformable_groups=deformable_groups,
            num_extract_block=num_extract_block,
            num_reconstruct_block=num_reconstruct_block,
            with_tsa=with_tsa,
        )
        self.num_frame, self.padding = num_frame, padding

    def forward(self, lq: Tensor) -> Tensor:
        """Enlarges a clip; in training, of a clip as long as the window, the centre frame alone.

        Args:
            lq: ``(B, T, 3, H, W)``, RGB in [0, 1]; any T, H and W from 1.

        Returns:
            ``(B, T, 3, 4·H, 4·W)``; or ``(B, 1, 3, 4·H, 4·W)``, which is what the published training is about.
        """
        length, (height, width) = lq.shape[1], lq.shape[-2:]
        clip = pad_to(lq, _SIZES)
        centres = [length // 2] if self.training and length == self.num_frame else range(length)
        frames = [super(ClipEDVR, self).forward(clip[:, self._window(i, length)]) for i in centres]
        return torch.stack(frames, dim=1)[..., : 4 * height, : 4 * width]

    def _window(self, centre: int, length: int) -> list[int]:
        """The frames about one frame."""
        # The others need frames that a short clip does not have.
        padding = self.padding if length >= self.num_frame else "replicate"
        indices: list[int] = generate_frame_indices(centre, length, self.num_frame, padding)
        return indices
