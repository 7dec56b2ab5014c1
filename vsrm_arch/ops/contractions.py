"""Sums over the states ``(B, S, N, E)`` of a scan, in the form that PyTorch is quickest at."""

import torch
from torch import Tensor

__all__ = ["over_channels", "over_states"]


def over_states(rows: Tensor, states: Tensor) -> Tensor:
    """Sum over N of ``(B, S, N)`` times ``(B, S, N, E)``: ``(B, S, E)``."""
    product = torch.bmm(rows.reshape(-1, 1, rows.shape[-1]), states.flatten(0, -3))
    return product.view(*rows.shape[:-1], states.shape[-1])


def over_channels(columns: Tensor, states: Tensor) -> Tensor:
    """Sum over E of ``(B, S, E)`` times ``(B, S, N, E)``: ``(B, S, N)``."""
    # A row times a transposed matrix: on a CPU eight times as fast as a matrix times a column.
    product = torch.bmm(columns.reshape(-1, 1, columns.shape[-1]), states.flatten(0, -3).transpose(1, 2))
    return product.view(*columns.shape[:-1], states.shape[-2])
