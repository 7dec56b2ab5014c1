import torch
from basicsr.archs.basicvsrpp_arch import BasicVSRPlusPlus
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vsrm_arch.sizes import SizeRequirements, pad_to, size_requirements


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 33), st.integers(1, 9))
def test_padding_reaches_the_smallest_accepted_size_and_keeps_the_frame(height, width, minimum, multiple_of):
    requirements = SizeRequirements(minimum, multiple_of)
    frames = torch.rand(2, 3, height, width)
    padded = pad_to(frames, requirements)
    for before, after in ((height, padded.shape[-2]), (width, padded.shape[-1])):
        assert after >= max(before, minimum)
        assert after % multiple_of == 0
        assert after - multiple_of < max(before, minimum)
    assert torch.equal(padded[..., :height, :width], frames)
    assert torch.equal(padded[..., -1, -1], frames[..., -1, -1])


def test_a_frame_that_fits_is_returned_as_it_is():
    frames = torch.rand(1, 2, 3, 64, 64)
    assert pad_to(frames, SizeRequirements(minimum=64, multiple_of=4)) is frames


def test_what_networks_need():
    network = BasicVSRPlusPlus(mid_channels=16, num_blocks=1)
    assert size_requirements(network) == SizeRequirements(minimum=64)
    network.size_requirements = SizeRequirements(multiple_of=8)
    assert size_requirements(network) == SizeRequirements(multiple_of=8)
    assert size_requirements(nn.Conv2d(3, 3, 3)) == SizeRequirements()
