"""A linear recurrence in place, in a number of steps that grows with the logarithm of its length."""

from torch import Tensor

__all__ = ["LinearScan"]


class LinearScan:
    """``state[t] += link[t - 1] * state[t - 1]`` for t = 1, 2, ..., in place.

    Brent and Kung's scheme: two neighbouring steps become one step of the same recurrence, half as long; once that is
    solved, the steps left out follow from their neighbours. It takes 3 operations per element and forms products of
    links only, never quotients. The views are made once, so that a pair of buffers can serve many times.

    Args:
        link: ``(L - 1, ...)``: ``link[t]`` joins the steps t and t + 1. A run destroys its content.
        state: ``(L, ...)``: what enters at each step. A run leaves the states there.
        mirrored: From the end to the start: ``state[t] += link[t] * state[t + 1]``.
    """

    def __init__(self, link: Tensor, state: Tensor, mirrored: bool = False) -> None:
        def every_other(steps: Tensor, first: int, count: int) -> Tensor:
            if mirrored:
                first = steps.shape[0] - 1 - first - 2 * (count - 1)
            return steps[first : first + 2 * count - 1 : 2]

        self._up: list[tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]] = []
        self._down: list[tuple[Tensor, Tensor, Tensor]] = []
        while state.shape[0] > 1:
            pairs, followers = state.shape[0] // 2, (state.shape[0] - 1) // 2
            odd, inner = every_other(state, 1, pairs), every_other(link, 0, pairs)
            even = every_other(state, 0, pairs)
            if followers:
                between = every_other(link, 1, followers)
                self._down.append((every_other(state, 2, followers), between, every_other(state, 1, followers)))
            # The link from one pair to the next goes through the step between them.
            joint = every_other(link, 2, pairs - 1) if pairs > 1 else None
            self._up.append((odd, inner, even, joint, None if joint is None else every_other(link, 1, pairs - 1)))
            if joint is None:
                break
            state, link = odd, joint
        self._down.reverse()

    def run(self) -> None:
        """Solves the recurrence on what the two buffers hold now."""
        for state, link, before, joint, link_before in self._up:
            state.addcmul_(link, before)
            if joint is not None and link_before is not None:
                joint.mul_(link_before)
        for state, link, before in self._down:
            state.addcmul_(link, before)
