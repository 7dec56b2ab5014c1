"""The two Mamba mixers of VSRM: spatial-to-temporal (eq. 4) and temporal-to-spatial (eq. 5)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vsrm_arch.layers.projection import project
from vsrm_arch.ops.causal_conv1d import causal_conv1d
from vsrm_arch.ops.gated_linear import gated_linear
from vsrm_arch.ops.scan_order import ScanOrder
from vsrm_arch.ops.scan_parameters import scan_parameters
from vsrm_arch.ops.selective_scan import selective_scan

__all__ = ["S2TMamba", "SSMPaths", "T2SMamba", "init_dt_proj", "s4d_real_init"]


def s4d_real_init(dim: int, d_state: int) -> nn.Parameter:
    """``A_log``: log of 1..N for every channel, as in Mamba; ``A = -exp(A_log)`` is (E, N)."""
    return nn.Parameter(torch.arange(1, d_state + 1, dtype=torch.float32).log().repeat(dim, 1))


def init_dt_proj(dt_proj: nn.Linear, dt_min: float = 1e-3, dt_max: float = 1e-1) -> None:
    """Initialises the step-size projection so that softplus(bias) is log-uniform in [dt_min, dt_max], as in Mamba."""
    bound = dt_proj.in_features**-0.5
    nn.init.uniform_(dt_proj.weight, -bound, bound)
    dt = torch.empty(dt_proj.out_features).uniform_(math.log(dt_min), math.log(dt_max)).exp()
    with torch.no_grad():
        # The inverse of softplus.
        dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))


class SSMPaths(nn.Module):
    """The paths of a mixer, ``SSM(Conv1d(x))`` in eq. 4b, 4c and 5b: forwards, or forwards and in reverse at once.

    Each path has its own convolution, Δ projection, A and D, side by side in ``(paths, ...)``; x_proj is shared.

    Args:
        inner_dim: E, the channels of the state space models.
        d_state: N, states a channel.
        d_conv: Taps of the causal convolution along the sequence.
        dt_rank: Channels from which Δ is projected.
        paths: 1 or 2.
        scan_order: "s2t" visits a frame's pixels, then the next frame; "t2s" a pixel's frames, then the next pixel.
    """

    def __init__(
        self, inner_dim: int, d_state: int, d_conv: int, dt_rank: int, paths: int, scan_order: ScanOrder
    ) -> None:
        super().__init__()
        self.scan_order = scan_order
        self.x_proj = nn.Linear(inner_dim, dt_rank + 2 * d_state, bias=False)
        convs, dt_projs = [], []
        for _ in range(paths):
            convs.append(nn.Conv1d(inner_dim, inner_dim, d_conv, groups=inner_dim))
            dt_projs.append(nn.Linear(dt_rank, inner_dim))
            init_dt_proj(dt_projs[-1])
        self.conv_weight = nn.Parameter(torch.stack([conv.weight.detach().squeeze(1) for conv in convs]))
        self.conv_bias = nn.Parameter(torch.stack([conv.bias.detach() for conv in convs if conv.bias is not None]))
        self.dt_weight = nn.Parameter(torch.stack([dt_proj.weight.detach() for dt_proj in dt_projs]))
        self.dt_bias = nn.Parameter(torch.stack([dt_proj.bias.detach() for dt_proj in dt_projs]))
        self.A_log = nn.Parameter(s4d_real_init(inner_dim, d_state).detach().repeat(paths, 1, 1))
        self.D = nn.Parameter(torch.ones(paths, inner_dim))

    def forward(self, x: Tensor, num_frames: int) -> tuple[Tensor, ...]:
        """Runs the convolutions and the scans.

        Args:
            x: ``(B, L, E)``, tokens as they lie: index t·H·W + h·W + w.
            num_frames: T.

        Returns:
            ``(B, L, E)`` for each path, tokens in the same places.
        """
        parameters = (self.conv_weight, self.conv_bias, self.dt_weight, self.dt_bias, self.A_log.float(), self.D)
        both = len(self.D) > 1
        conv_weight, conv_bias, dt_weight, dt_bias, A_log, D = parameters if both else (t[0] for t in parameters)
        reverse = "both" if both else False
        order: dict[str, Any] = {"scan_order": self.scan_order, "num_frames": num_frames, "reverse": reverse}
        u = causal_conv1d(x, conv_weight, conv_bias, activation="silu", **order)
        delta, rows = scan_parameters(u, self.x_proj.weight, dt_weight)
        B, C = rows.chunk(2, dim=-1)
        y = selective_scan(u, delta, -torch.exp(A_log), B, C, D, delta_bias=dt_bias, delta_softplus=True, **order)
        return y.unbind() if both else (y,)


class _Mamba(nn.Module):
    """What both mixers share: projections, gate and one or two SSM paths."""

    scan_order: ScanOrder

    def __init__(self, dim: int, expand: int = 2, d_state: int = 16, d_conv: int = 4, *, bidirectional: bool) -> None:
        super().__init__()
        inner_dim = expand * dim
        dt_rank = math.ceil(dim / 16)
        self.in_proj = nn.Linear(dim, 2 * inner_dim, bias=False)
        paths = 2 if bidirectional else 1
        self.ssm = SSMPaths(inner_dim, d_state, d_conv, dt_rank, paths, self.scan_order)
        self.out_proj = nn.Linear(inner_dim, dim, bias=False)

    def forward(self, x: Tensor, norm: nn.LayerNorm | None = None) -> Tensor:
        """Mixes the tokens of a clip; with ``norm`` as a residual block does, ``x + Mamba(norm(x))``.

        Args:
            x: ``(B, T, H, W, C)``.
            norm: The block's LayerNorm over C.

        Returns:
            ``(B, T, H, W, C)``.
        """
        num_frames = x.shape[1]
        x_in = x.flatten(1, 3)
        tokens, z = project(self.in_proj, x_in, norm).chunk(2, dim=-1)  # [B, L, E] each
        y1, *rest = self.ssm(tokens, num_frames)
        # y1 ⊙ z + y2 ⊙ z with one multiplication less.
        residual, y2 = None if norm is None else x_in, rest[0] if rest else None
        return gated_linear(y1, self.out_proj.weight, None, residual, other=y2, gate=z).reshape(x.shape)


class S2TMamba(_Mamba):
    """Spatial-to-temporal Mamba (eq. 4, Fig. 2a): scans frame by frame, pixel by pixel, in both directions.

    Args:
        dim: C, channels in and out.
        expand: E = expand · C.
        d_state: N, states a channel.
        d_conv: Taps of the causal convolution.
        bidirectional: Whether to add the backward path; the paper does.
    """

    scan_order: ScanOrder = "s2t"

    def __init__(
        self, dim: int, expand: int = 2, d_state: int = 16, d_conv: int = 4, bidirectional: bool = True
    ) -> None:
        super().__init__(dim, expand, d_state, d_conv, bidirectional=bidirectional)


class T2SMamba(_Mamba):
    """Temporal-to-spatial Mamba (eq. 5, Fig. 2b): scans pixel by pixel, frame by frame, forward only.

    Args:
        dim: C, channels in and out.
        expand: E = expand · C.
        d_state: N, states a channel.
        d_conv: Taps of the causal convolution.
        bidirectional: Whether to add a backward path (Tab. 5, row †).
    """

    scan_order: ScanOrder = "t2s"

    def __init__(
        self, dim: int, expand: int = 2, d_state: int = 16, d_conv: int = 4, bidirectional: bool = False
    ) -> None:
        super().__init__(dim, expand, d_state, d_conv, bidirectional=bidirectional)
