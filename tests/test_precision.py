import pytest
import torch

from vsrm_arch.precision import DTYPES, PRECISIONS, autocast


@pytest.mark.parametrize("name", DTYPES)
def test_a_product_in_each(name):
    a = torch.ones(2, 2)
    with autocast(torch.device("cpu"), PRECISIONS[name]):
        assert (a @ a).dtype == DTYPES[name]
    assert (a @ a).dtype == torch.float32
