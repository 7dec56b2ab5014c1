"""The two Mamba mixers of VSRM: spatial-to-temporal (eq. 4) and temporal-to-spatial (eq. 5)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsrm_arch.ops.causal_conv1d import causal_conv1d
from vsrm_arch.ops.gated_linear import gated_linear
from vsrm_arch.ops.norm_linear import norm_linear
from vsrm_arch.ops.scan_order import ScanOrder
from vsrm_arch.ops.selective_scan import selective_scan

__all__ = ["S2TMamba", "SSMPath", "T2SMamba", "init_dt_proj", "s4d_real_init", "scan_parameters"]


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


def scan_parameters(u: Tensor, x_weight: Tensor, dt_weight: Tensor) -> tuple[Tensor, Tensor]:
    """What a scan takes from its own input (eq. 3): ``[dt, rows] = W_x u``, ``delta = W_dt dt``.

    Args:
        u: ``(..., E)``.
        x_weight: W_x, ``(R + S, E)``.
        dt_weight: W_dt, ``(E, R)``.

    Returns:
        delta, ``(..., E)``, before its bias and softplus, and the rows, ``(..., S)``: B and C of a mixer.
    """
    rank = dt_weight.shape[1]
    if u.is_cuda:
        # Multiplied out: more arithmetic, but one product of even sizes in place of two that stride through memory.
        with torch.autocast("cuda", enabled=False):
            weight = torch.cat((dt_weight @ x_weight[:rank], x_weight[rank:]))
        return F.linear(u, weight).tensor_split([len(dt_weight)], dim=-1)  # type: ignore[return-value]
    dt, rows = F.linear(u, x_weight).tensor_split([rank], dim=-1)
    return F.linear(dt, dt_weight), rows


class SSMPath(nn.Module):
    """One direction of a mixer, ``SSM(Conv1d(x))`` in eq. 4b, 4c and 5b, with its own conv1d, Δ projection, A and D.

    Args:
        inner_dim: E, the channels of the state space model.
        d_state: N, states a channel.
        d_conv: Taps of the causal convolution along the sequence.
        dt_rank: Channels from which Δ is projected.
        scan_order: "s2t" visits a frame's pixels, then the next frame; "t2s" a pixel's frames, then the next pixel.
        reverse: Whether to visit the tokens from the end.
    """

    def __init__(
        self, inner_dim: int, d_state: int, d_conv: int, dt_rank: int, scan_order: ScanOrder, reverse: bool
    ) -> None:
        super().__init__()
        self.scan_order = scan_order
        self.reverse = reverse
        self.conv1d = nn.Conv1d(inner_dim, inner_dim, d_conv, groups=inner_dim)
        self.dt_proj = nn.Linear(dt_rank, inner_dim)
        self.A_log = s4d_real_init(inner_dim, d_state)
        self.D = nn.Parameter(torch.ones(inner_dim))
        init_dt_proj(self.dt_proj)

    def forward(self, x: Tensor, x_proj: nn.Linear, num_frames: int) -> Tensor:
        """Runs the convolution and the scan.

        Args:
            x: ``(B, L, E)``, tokens as they lie: index t·H·W + h·W + w.
            x_proj: The projection E → dt_rank + 2N, shared by both directions.
            num_frames: T.

        Returns:
            ``(B, L, E)``, tokens in the same places.
        """
        u = causal_conv1d(
            x,
            self.conv1d.weight.squeeze(1),
            self.conv1d.bias,
            activation="silu",
            reverse=self.reverse,
            scan_order=self.scan_order,
            num_frames=num_frames,
        )
        delta, rows = scan_parameters(u, x_proj.weight, self.dt_proj.weight)
        B, C = rows.chunk(2, dim=-1)
        return selective_scan(
            u,
            delta,
            -torch.exp(self.A_log.float()),
            B,
            C,
            self.D,
            delta_bias=self.dt_proj.bias,
            delta_softplus=True,
            reverse=self.reverse,
            scan_order=self.scan_order,
            num_frames=num_frames,
        )


class _Mamba(nn.Module):
    """What both mixers share: projections, gate and one or two SSM paths."""

    scan_order: ScanOrder

    def __init__(self, dim: int, expand: int = 2, d_state: int = 16, d_conv: int = 4, *, bidirectional: bool) -> None:
        super().__init__()
        inner_dim = expand * dim
        dt_rank = math.ceil(dim / 16)
        self.in_proj = nn.Linear(dim, 2 * inner_dim, bias=False)
        self.x_proj = nn.Linear(inner_dim, dt_rank + 2 * d_state, bias=False)
        self.forward_ssm = SSMPath(inner_dim, d_state, d_conv, dt_rank, self.scan_order, reverse=False)
        self.backward_ssm = (
            SSMPath(inner_dim, d_state, d_conv, dt_rank, self.scan_order, reverse=True) if bidirectional else None
        )
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
        if norm is None:
            projected = self.in_proj(x_in)
        else:
            projected = norm_linear(x_in, norm.weight, norm.bias, self.in_proj.weight, eps=norm.eps)
        tokens, z = projected.chunk(2, dim=-1)  # [B, L, E] each
        y1 = self.forward_ssm(tokens, self.x_proj, num_frames)
        y2 = None if self.backward_ssm is None else self.backward_ssm(tokens, self.x_proj, num_frames)
        # y1 ⊙ z + y2 ⊙ z with one multiplication less.
        residual = None if norm is None else x_in
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
