import numpy as np
import pytest
import torch
from basicsr.utils.matlab_functions import imresize

from vsrm_arch.archs import Bicubic


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("size", [(6, 9), (16, 12)])
def test_equals_the_matlab_equivalent_routine_up_to_the_border(scale, size):
    image = np.random.default_rng(0).random((*size, 3))
    expected = torch.from_numpy(imresize(image, scale)).permute(2, 0, 1)
    ours = Bicubic(scale)(torch.from_numpy(image).permute(2, 0, 1)[None, None].double())[0, 0]
    torch.testing.assert_close(ours.float(), expected, atol=1e-5, rtol=0)


def test_scales_that_cannot_be():
    with pytest.raises(ValueError, match="scale is 0; it must be at least 1"):
        Bicubic(0)
