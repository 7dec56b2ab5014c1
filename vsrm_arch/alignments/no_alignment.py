"""No alignment at all (Tab. 4, "w/o Align.")."""

from torch import Tensor, nn

__all__ = ["NoAlignment"]


class NoAlignment(nn.Module):
    """Hands on the reference feature as it is."""

    def forward(self, reference: Tensor, target: Tensor, flow: Tensor) -> Tensor:
        """``reference``.

        Args:
            reference: ``(B, C, H, W)``.
            target: ``(B, C, H, W)``; not looked at.
            flow: ``(B, 2, H, W)``; not looked at.

        Returns:
            ``(B, C, H, W)``.
        """
        return reference
