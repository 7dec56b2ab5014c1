"""The fused selective scan: Triton kernels over channel-last tokens, registered with PyTorch as one op.

The sequence is cut into chunks that are walked through at the same time, so that a batch of one fills the card:
once to find the state that each chunk leaves, then, with what all chunks before it hand over, to write its outputs.
README.md beside this file counts bytes and operations.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from vsrm_arch.ops.triton import SUMS, power_of_two_from, power_of_two_to

__all__ = ["limit", "selective_scan_fused"]

_CHANNELS = 32  # a program's, one a thread
_CARRY_TILE, _CARRY_WARPS = 64, 4
# As many programs as keep a large card busy; chunks are not cut shorter or made longer than this.
_PROGRAMS = 8192
_SHORTEST_CHUNK, _LONGEST_CHUNK = 64, 1024
_MOST_STATES = 64


def limit(u: Tensor, A: Tensor) -> str | None:
    """Why the kernels cannot take tokens with E channels and A with N states, or None if they can."""
    if u.dtype == torch.float64:
        return "it knows no float64"
    if A.shape[-1] > _MOST_STATES:
        return f"it takes at most {_MOST_STATES} states a channel, not {A.shape[-1]}"
    return None


def selective_scan_fused(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool | Literal["both"],
    scan_order: str,
    num_frames: int,
) -> Tensor:
    """Arguments and result as in :func:`vsrm_arch.ops.selective_scan.selective_scan`."""
    tokens = (t if t.stride(-1) == 1 else t.contiguous() for t in (u, delta, B, C))
    # The kernels see a second direction as further samples with parameters of their own.
    flat = (t.flatten(0, 1) if reverse == "both" else t for t in tokens)
    A, D, bias = (None if t is None else t.float().contiguous() for t in (A, D, delta_bias))  # type: ignore[assignment]
    frames = num_frames if scan_order == "t2s" else 1
    u_rows, delta_rows, B_rows, C_rows = flat
    if reverse != "both":
        A, D, bias = (None if t is None else t.unsqueeze(0) for t in (A, D, bias))  # type: ignore[assignment]
    out, _ = _forward(u_rows, delta_rows, A, B_rows, C_rows, D, bias, delta_softplus, reverse is True, frames)
    out = out.view(u.shape)
    return out if z is None else (out.float() * torch.nn.functional.silu(z.float())).to(u.dtype)


class _Launch:
    """What the kernels of a scan share: the grid of (chunks, blocks of channels, batch) and their arguments."""

    def __init__(
        self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, softplus: bool, reverse: bool, frames: int
    ) -> None:
        (batch, length, channels), (directions, _, states) = u.shape, A.shape
        self.directions, self.samples = directions, batch // directions
        self.width = min(_CHANNELS, max(16, power_of_two_from(channels)))
        blocks = -(-channels // self.width)
        chunk = power_of_two_to(length * blocks * batch // _PROGRAMS)
        self.chunk = min(max(chunk, _SHORTEST_CHUNK), _LONGEST_CHUNK)
        self.chunks = -(-length // self.chunk)
        self.grid = (self.chunks, blocks, batch)
        strides = (u.stride(0), delta.stride(0), B.stride(0), C.stride(0))
        self.sizes = (length, length // frames, self.chunk, self.samples, *strides)
        self.constants = {
            "U_ROW": u.stride(1),
            "DELTA_ROW": delta.stride(1),
            "B_ROW": B.stride(1),
            "C_ROW": C.stride(1),
            "E": channels,
            "N": states,
            "SOFTPLUS": softplus,
            "REVERSE": reverse,
            "FRAMES": frames,
            "STATES": max(16, power_of_two_from(states)),
            "CHANNELS": self.width,
            "WORD": 2 if all(map(_has_words, (B, C))) else 1,
            "num_warps": 1,
            "num_stages": 1,
        }

    def carry(self, A: Tensor, added: Tensor, durations: Tensor, backward: bool) -> Tensor:
        """From what each chunk adds, what stands before it, or after it."""
        from vsrm_arch.ops.selective_scan.kernels import carry_kernel

        batch, chunks, count, channels = added.shape
        constants = {"E": channels, "N": count, "T": _CARRY_TILE, "CHANNELS": self.width, "num_warps": _CARRY_WARPS}
        carried = torch.empty_like(added)
        grid = (count, self.grid[1], batch)
        carry_kernel[grid](A, added, durations, carried, chunks, self.samples, BACKWARD=backward, **constants)
        return carried


def _has_words(rows: Tensor) -> bool:
    """Whether a row of states can be loaded in words of two."""
    distances = (*rows.stride()[:2], rows.storage_offset(), rows.shape[2])
    return rows.dtype == torch.bfloat16 and all(distance % 2 == 0 for distance in distances)


@torch.library.custom_op("vsrm::selective_scan", mutates_args=())
def _forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
    reverse: bool,
    frames: int,
) -> tuple[Tensor, Tensor]:
    """The output, and the state before each chunk ``(B, K, N, E)``.

    A is ``(G, E, N)``, D and the bias are ``(G, E)``: the first ``B / G`` samples are of the first direction.
    """
    from vsrm_arch.ops.selective_scan.kernels import scan_kernel

    launch = _Launch(u, delta, A, B, C, softplus, reverse, frames)
    out, added, durations = _outputs(u, A, launch)
    inputs = (u, delta, A, B, C, D, bias)
    scan_kernel[launch.grid](*inputs, added, durations, None, *launch.sizes, **launch.constants, OUTPUTS=False)
    states = launch.carry(A, added, durations, backward=False)
    scan_kernel[launch.grid](*inputs, states, None, out, *launch.sizes, **launch.constants, OUTPUTS=True)
    return out, states


def _outputs(u: Tensor, A: Tensor, launch: _Launch) -> tuple[Tensor, Tensor, Tensor]:
    batch, _, channels = u.shape
    states = A.new_empty(batch, launch.chunks, A.shape[2], channels)
    durations = A.new_empty(batch, launch.chunks, channels)
    return torch.empty_like(u, memory_format=torch.contiguous_format), states, durations


@_forward.register_fake
def _(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
    reverse: bool,
    frames: int,
) -> tuple[Tensor, Tensor]:
    return _outputs(u, A, _Launch(u, delta, A, B, C, softplus, reverse, frames))[:2]


@torch.library.custom_op("vsrm::selective_scan_backward", mutates_args=())
def _backward(
    grad_out: Tensor,
    states: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
    reverse: bool,
    frames: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of u and delta; of B and C, ``(B, L, 2 N)``; of A, D and the bias, ``(G, N + 2, E)`` in float32."""
    from vsrm_arch.ops.selective_scan.kernels import TILE, gradients_kernel, sensitivity_kernel

    launch = _Launch(u, delta, A, B, C, softplus, reverse, frames)
    batch, length, channels = u.shape
    # What is kept for the backward pass has the precision of the tokens.
    kept = torch.bfloat16 if u.dtype == torch.bfloat16 else torch.float32
    tile_states = A.new_empty(batch, -(-length // TILE.value), A.shape[2], channels, dtype=kept)
    sensitivities, durations = torch.empty_like(states), A.new_empty(batch, launch.chunks, channels)
    results = (states, durations, tile_states, sensitivities)
    sensitivity_kernel[launch.grid](u, delta, A, B, C, bias, grad_out, *results, *launch.sizes, **launch.constants)
    grad_states = launch.carry(A, sensitivities, durations, backward=True)

    grad_u, grad_delta = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (u, delta))
    grad_rows = A.new_empty(launch.grid[1], batch, length, 2 * A.shape[2])
    grad_parameters = A.new_empty(batch, launch.chunks, A.shape[2] + 2, channels)
    inputs = (u, delta, A, B, C, D, bias, grad_out, tile_states, grad_states)
    results = (grad_u, grad_delta, grad_rows, grad_parameters)
    gradients_kernel[launch.grid](*inputs, *results, *launch.sizes, **launch.constants, PRECISION=SUMS[u.dtype])
    of_directions = grad_parameters.unflatten(0, (launch.directions, launch.samples)).sum((1, 2))
    return grad_u, grad_delta, grad_rows.sum(0), of_directions


@_backward.register_fake
def _(
    grad_out: Tensor,
    states: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
    reverse: bool,
    frames: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_u, grad_delta = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (u, delta))
    count = A.shape[2]
    grad_parameters = A.new_empty(len(A), count + 2, A.shape[1])
    return grad_u, grad_delta, A.new_empty(*B.shape[:2], 2 * count), grad_parameters


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.softplus, ctx.reverse, ctx.frames = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.mark_non_differentiable(output[1])


def _autograd(ctx: Any, grad_out: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    *inputs, states = ctx.saved_tensors
    _, _, A, B, C, D, bias = inputs
    grads = _backward(grad_out.contiguous(), states, *inputs, ctx.softplus, ctx.reverse, ctx.frames)
    grad_u, grad_delta, grad_rows, grad_parameters = grads
    grad_B, grad_C = grad_rows.chunk(2, dim=-1)
    grad_A, grad_D, grad_bias = grad_parameters.split([A.shape[2], 1, 1], dim=1)
    optional = (None if t is None else g.squeeze(1) for t, g in ((D, grad_D), (bias, grad_bias)))
    return grad_u, grad_delta, grad_A.mT, grad_B.to(B.dtype), grad_C.to(C.dtype), *optional, None, None, None


_forward.register_autograd(_autograd, setup_context=_setup_context)
