import pytest
import torch

from vsrm_arch.ops.softplus import softplus


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softplus_is_exact_from_tiny_to_huge(dtype):
    x = torch.cat((torch.linspace(-80, 80, 20001), torch.tensor([-1e30, 0.0, 1e30]))).to(dtype)
    want = torch.log1p(torch.exp(-x.double().abs())) + x.double().clamp(min=0)
    torch.testing.assert_close(softplus(x).double(), want, rtol=40 * torch.finfo(dtype).eps, atol=0)
