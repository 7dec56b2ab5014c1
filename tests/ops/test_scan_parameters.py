import pytest
import torch
from ops_testing import assert_same, outputs_and_gradients

from vsrm_arch.ops.scan_parameters import _multiplied_out, _one_after_the_other


@pytest.mark.parametrize("directions", [(), (2,)])
def test_multiplied_out_is_the_same(directions):
    shapes = {"u": (*directions, 2, 9, 12), "x_weight": (7, 12), "dt_weight": (*directions, 12, 3)}
    inputs = {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}

    def joined(function):
        return lambda **tensors: torch.cat(function(**tensors), dim=-1)

    want = outputs_and_gradients(joined(_one_after_the_other), inputs)
    assert want["output"].shape == (*directions, 2, 9, 12 + 4)
    assert_same(outputs_and_gradients(joined(_multiplied_out), inputs), want, torch.float64)


def test_each_direction_has_its_own():
    u, x_weight, dt_weight = torch.randn(2, 1, 5, 8), torch.randn(6, 8), torch.randn(2, 8, 2)
    delta, rows = _one_after_the_other(u, x_weight, dt_weight)
    for i in range(2):
        projected = u[i] @ x_weight.T
        torch.testing.assert_close(delta[i], projected[..., :2] @ dt_weight[i].T)
        torch.testing.assert_close(rows[i], projected[..., 2:])
