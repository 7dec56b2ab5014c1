"""Flow-guided deformable attention (Tab. 4, "FGDA"; Liang et al., NeurIPS 2022, "RVRT")."""

import torch
import torch.nn.functional as F
from basicsr.archs.arch_util import flow_warp
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from vsrm_arch.layers.ffn import FFN

__all__ = ["GuidedDeformableAttention"]

_REGION = 3  # side of the grid of points around the position that the flow leads to
_HIDDEN_DIM = 64  # channels of the offset network, RVRT's


@ARCH_REGISTRY.register()
class GuidedDeformableAttention(nn.Module):
    """Aligns a reference feature to a target feature by attention to nine points around where the flow leads.

    A network sees the target, the reference warped by the flow, and the flow. It moves the 3x3 points around (x + Δx,
    y + Δy), each head its own, by at most ``max_offset``. The target is the query, the reference sampled bilinearly
    there (zero outside the frame) gives keys and values: ``a = W (Σ_k softmax_k(q · k_k / sqrt(d)) v_k)``, and the
    aligned feature is ``a + FFN(a)``.

    Queries, keys and values have 2C channels as in RVRT's published network; of its clips of two frames, this aligns
    one. For C = 72 that makes 234,088 parameters and a network of 8.76 M; the paper gives 8.70.

    Args:
        dim: C, channels in and out.
        num_heads: Heads of the attention; each samples at its own points.
        max_offset: Farthest way of a point from the flow, in pixels along each axis.

    Raises:
        ValueError: If the heads do not divide 2C.
    """

    def __init__(self, dim: int, num_heads: int = 12, max_offset: float = 10.0) -> None:
        super().__init__()
        inner_dim = 2 * dim
        if inner_dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide 2 x {dim} channels: change embed_dim")
        self.num_heads = num_heads
        self.max_offset = max_offset
        layers: list[nn.Module] = [nn.Conv2d(2 * dim + 2, _HIDDEN_DIM, 1), nn.LeakyReLU(0.1)]
        for _ in range(4):
            layers += [nn.Conv2d(_HIDDEN_DIM, _HIDDEN_DIM, 3, padding=1), nn.LeakyReLU(0.1)]
        last = nn.Conv2d(_HIDDEN_DIM, num_heads * _REGION**2 * 2, 1)
        # The points start on their grid.
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        self.offset_net = nn.Sequential(*layers, last)
        self.q_proj = nn.Linear(dim, inner_dim)
        self.kv_proj = nn.Linear(dim, 2 * inner_dim)
        self.out_proj = nn.Linear(inner_dim, dim)
        self.ffn = FFN(dim)

    def forward(self, reference: Tensor, target: Tensor, flow: Tensor) -> Tensor:
        """Aligns ``reference`` to ``target``.

        Args:
            reference: ``(B, C, H, W)``.
            target: ``(B, C, H, W)``.
            flow: (Δx, Δy), ``(B, 2, H, W)``, in pixels, target → reference.

        Returns:
            ``(B, C, H, W)``.
        """
        q = self.q_proj(target.movedim(1, -1)).unflatten(-1, (self.num_heads, -1))  # [B, H, W, heads, d]
        k, v = self.sample(reference, self.positions(reference, target, flow))
        affinity = torch.einsum("bhwnd,bndkhw->bnkhw", q * q.shape[-1] ** -0.5, k.to(q.dtype))
        mixed = torch.einsum("bnkhw,bndkhw->bhwnd", affinity.softmax(2).to(q.dtype), v.to(q.dtype))
        aligned = self.out_proj(mixed.flatten(-2))
        return (aligned + self.ffn(aligned)).movedim(-1, 1)

    def positions(self, reference: Tensor, target: Tensor, flow: Tensor) -> Tensor:
        """Where the points lie in the reference, in pixels.

        Args:
            reference: ``(B, C, H, W)``.
            target: ``(B, C, H, W)``.
            flow: ``(B, 2, H, W)``.

        Returns:
            ``(B, heads, 9, H, W, 2)`` as (x, y), float32 at least; the nine in raster order.
        """
        dtype = torch.promote_types(reference.dtype, torch.float32)
        flow = flow.to(dtype)
        warped = flow_warp(reference.to(dtype), flow.movedim(1, -1))
        seen = torch.cat([target, warped.to(target.dtype), flow.to(target.dtype)], dim=1)
        offsets = self.max_offset * self.offset_net(seen).to(dtype).tanh()
        offsets = offsets.unflatten(1, (self.num_heads, _REGION**2, 2)).movedim(3, -1)  # [B, heads, 9, H, W, 2]
        H, W = flow.shape[-2:]
        side = torch.arange(_REGION, device=flow.device, dtype=dtype) - _REGION // 2
        y, x = torch.arange(H, device=flow.device, dtype=dtype), torch.arange(W, device=flow.device, dtype=dtype)
        region = torch.cartesian_prod(side, side).flip(-1).view(-1, 1, 1, 2)
        pixel = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # [H, W, 2]
        return pixel + region + flow.movedim(1, -1)[:, None, None] + offsets

    def sample(self, reference: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values at the points.

        Args:
            reference: ``(B, C, H, W)``.
            positions: ``(B, heads, 9, H, W, 2)``.

        Returns:
            k and v, each ``(B, heads, d, 9, H, W)``.
        """
        B, N, K, H, W, _ = positions.shape
        kv = self.kv_proj(reference.movedim(1, -1)).unflatten(-1, (2, N, -1))  # [B, H, W, 2, heads, d]
        kv = kv.permute(0, 4, 3, 5, 1, 2).reshape(B * N, -1, H, W).to(positions.dtype)
        # grid_sample's own unit: the frame, from edge to edge, is [-1, 1].
        x, y = positions.unbind(-1)
        grid = torch.stack([(2 * x + 1) / W, (2 * y + 1) / H], dim=-1) - 1
        sampled = F.grid_sample(kv, grid.reshape(B * N, K * H, W, 2), padding_mode="zeros", align_corners=False)
        k, v = sampled.reshape(B, N, 2, -1, K, H, W).unbind(2)
        return k, v
