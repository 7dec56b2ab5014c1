"""Deformable cross-Mamba alignment (DCA; eq. 7-11, Fig. 4)."""

import math

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from vsrm_arch.alignments.geometry import locate
from vsrm_arch.layers.mamba import init_dt_proj, s4d_real_init
from vsrm_arch.ops.causal_conv1d import causal_conv1d
from vsrm_arch.ops.cross_scan import cross_scan
from vsrm_arch.ops.encoded_sample import encoded_sample
from vsrm_arch.ops.gated_linear import gated_linear
from vsrm_arch.ops.positional_encoding import sinusoidal_encoding
from vsrm_arch.ops.scan_parameters import scan_parameters

__all__ = ["DCA"]

_WINDOW = 5  # side of the window w around the floored position
_REGION = 3  # side of the reference region r in its centre
_EXTENT = _WINDOW - 1.0  # positions in the window, and within a pixel, from 0 to 1, are encoded on one scale
# Where no gradient is wanted, pixels are aligned in portions of at least so many, at most so many portions to a frame.
_PORTION, _MOST_PORTIONS = 8192, 4


@ARCH_REGISTRY.register()
class DCA(nn.Module):
    """Aligns a reference feature to a target feature by a cross-Mamba scan over nine deformed reference points.

    For a target pixel X(x, y) the flow leads to (x', y') = (x + Δx, y + Δy) in the reference X' (eq. 7). Around its
    floor lies the window w, 5x5, border replicated, and in the centre of w the region r, 3x3 (eq. 8). The offset
    network S moves the nine points of r by ε, at most one pixel each way, and they are sampled bilinearly: r̄ = φ(w; r
    + ε) (eq. 9). R = r̄ + PE_R and Q = X(x, y) + PE_Q meet in the cross-Mamba (eq. 10, 11): Δ and B come from R, C
    from Q, and the last of the nine steps is the aligned pixel.

    Args:
        dim: C, channels in and out.
        expand: E = expand · C.
        d_state: N, states a channel.
        d_conv: Taps of the causal convolution over the nine points.

    Source: VSRM section 4.3; the geometry that the paper leaves open is the specification's.
    """

    def __init__(self, dim: int, expand: int = 2, d_state: int = 16, d_conv: int = 4) -> None:
        super().__init__()
        inner_dim = expand * dim
        self.dim = dim
        dt_rank = math.ceil(dim / 16)
        # S(.): no padding, so a 5x5 window gives 3x3 offsets.
        self.offset_net = nn.Sequential(nn.Conv2d(dim, dim // 2, 3), nn.GELU(), nn.Conv2d(dim // 2, 2, 1))
        self.reference_proj = nn.Linear(dim, inner_dim, bias=False)
        self.conv1d = nn.Conv1d(inner_dim, inner_dim, d_conv, groups=inner_dim)
        self.x_proj = nn.Linear(inner_dim, dt_rank + d_state, bias=False)
        self.dt_proj = nn.Linear(dt_rank, inner_dim)
        self.target_proj = nn.Linear(dim, 2 * inner_dim, bias=False)
        self.c_proj = nn.Linear(inner_dim, d_state, bias=False)
        self.A_log = s4d_real_init(inner_dim, d_state)
        self.D = nn.Parameter(torch.ones(inner_dim))
        self.out_proj = nn.Linear(inner_dim, dim, bias=False)
        init_dt_proj(self.dt_proj)
        # The points start on the grid of r.
        nn.init.zeros_(self.offset_net[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.offset_net[-1].bias)  # type: ignore[arg-type]

    def forward(self, reference: Tensor, target: Tensor, flow: Tensor) -> Tensor:
        """Aligns ``reference`` to ``target``.

        Args:
            reference: X', ``(B, C, H, W)``.
            target: X, ``(B, C, H, W)``.
            flow: (Δx, Δy), ``(B, 2, H, W)``, in pixels, target → reference.

        Returns:
            X̄, ``(B, C, H, W)``.
        """
        B, C, H, W = target.shape
        corner, remainder = locate(flow)
        region = _region_grid(flow.device)  # r, relative to the corner: [9, 2]
        points = region + self.offsets(reference, corner)  # r + ε: [B, H, W, 9, 2]
        position = corner.unsqueeze(-2) + points
        pe_q = sinusoidal_encoding(remainder, C, _EXTENT)
        Q = target.movedim(1, -1) + pe_q.to(target.dtype)
        feature = reference.movedim(1, -1).contiguous()

        def align(position: Tensor, points: Tensor, Q: Tensor) -> Tensor:
            # r̄ + PE_R
            R = encoded_sample(feature, position.flatten(1, 2), points.flatten(1, 2) + _WINDOW // 2, _EXTENT)
            return self.cross_mamba(R.reshape(-1, _REGION**2, C), Q.reshape(-1, C)).reshape(Q.shape)

        pixels = (t.flatten(1, 2) for t in (position, points, Q))
        # What stands between takes less memory where the next portion can overwrite it; but a GPU waits for the
        # launches of many small ones.
        size = H * W if torch.is_grad_enabled() else max(_PORTION // B, -(-H * W // _MOST_PORTIONS))
        portions = zip(*(t.split(size, dim=1) for t in pixels), strict=True)
        aligned = torch.cat([align(*portion) for portion in portions], dim=1)
        return aligned.unflatten(1, (H, W)).movedim(-1, 1)

    def offsets(self, reference: Tensor, corner: Tensor) -> Tensor:
        """The bounded offsets ε = tanh(S(w)) of the nine points (eq. 9).

        All windows lie on the pixel grid, so S runs once over the whole frame, not once a window: the window at a pixel
        reads the 3x3 neighbourhood of S's result there. Beyond the border the replicated frame is constant across it,
        hence so is S from one pixel outside onwards.

        Args:
            reference: X', ``(B, C, H, W)``.
            corner: The floored positions (y, x), ``(B, H, W, 2)``.

        Returns:
            ``(B, H, W, 9, 2)`` as (y, x), in pixels, in [-1, 1].
        """
        H, W = reference.shape[-2:]
        field = self.offset_net(F.pad(reference, (2, 2, 2, 2), mode="replicate"))  # pixels -1..H, -1..W
        field = field.float().tanh().flip(1).movedim(1, -1)  # [B, H + 2, W + 2, (y, x)]
        region = _region_grid(corner.device).long()

        def index(axis: int, side: int) -> Tensor:  # [B, H, W, 9]
            # A flow that leads far out must not overflow the integer.
            start = corner[..., axis].clamp(-3, side + 2).long().unsqueeze(-1)
            return (start + region[:, axis]).clamp(-1, side) + 1

        y, x = index(0, H), index(1, W)
        batch = torch.arange(len(field), device=field.device).view(-1, 1, 1, 1)
        return field[batch, y, x]

    def cross_mamba(self, R: Tensor, Q: Tensor) -> Tensor:
        """The cross-Mamba of eq. 10 and 11: ``H_t = Ā_R H_{t-1} + B̄_R R_t``, ``X̄_t = C_Q H_t``; the last step counts.

        Args:
            R: ``(P, 9, C)``, reference points with their encoding.
            Q: ``(P, C)``, target pixels with theirs.

        Returns:
            ``(P, C)``.
        """
        u = causal_conv1d(self.reference_proj(R), self.conv1d.weight.squeeze(1), self.conv1d.bias, activation="silu")
        delta, B = scan_parameters(u, self.x_proj.weight, self.dt_proj.weight)
        q, z = self.target_proj(Q).chunk(2, dim=-1)
        y = cross_scan(
            u, delta, -torch.exp(self.A_log.float()), B, self.c_proj(q), self.D, delta_bias=self.dt_proj.bias
        )
        return gated_linear(y, self.out_proj.weight, None, gate=z)


def _region_grid(device: torch.device) -> Tensor:
    """The points of r relative to its centre, in raster order: ``(9, 2)`` as (y, x)."""
    step = torch.arange(_REGION, device=device, dtype=torch.float32) - _REGION // 2
    return torch.cartesian_prod(step, step)
