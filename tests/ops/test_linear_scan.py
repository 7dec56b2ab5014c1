import pytest
import torch

from vsrm_arch.ops.linear_scan import LinearScan


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("length", [*range(1, 20), 64, 101])
def test_is_the_recurrence(length, mirrored):
    link, state = torch.randn(length - 1, 2, 3, dtype=torch.float64), torch.randn(length, 2, 3, dtype=torch.float64)
    scan = LinearScan(decays := link.clone(), states := state.clone(), mirrored)
    scan.run()
    for t in reversed(range(length - 1)) if mirrored else range(length - 1):
        if mirrored:
            state[t] += link[t] * state[t + 1]
        else:
            state[t + 1] += link[t] * state[t]
    torch.testing.assert_close(states, state)

    # The same buffers serve again.
    decays.fill_(1)
    states.fill_(1)
    scan.run()
    count = torch.arange(1, length + 1, dtype=torch.float64)[:, None, None].expand_as(states)
    torch.testing.assert_close(states, count.flip(0) if mirrored else count)
