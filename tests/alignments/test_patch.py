import pytest
import torch

from vsrm_arch.alignments import PatchAlignment


def test_patches_move_by_the_mean_of_their_flow_to_the_nearest_pixel():
    H, W = 8, 16
    reference = torch.arange(1.0, H * W + 1).view(1, 1, H, W)
    flow = torch.zeros(1, 2, H, W)
    flow[:, 0, :, :4], flow[:, 0, :, 4:8] = 1.0, 1.8  # left patch: 1.4 in x, so one pixel
    flow[:, 1, :, 8:] = -0.6  # right patch: one pixel up
    aligned = PatchAlignment()(reference, reference, flow)
    expected = torch.zeros_like(reference)
    expected[..., :8] = reference[..., 1:9]
    expected[:, :, 1:, 8:] = reference[:, :, :-1, 8:]  # what comes from above the frame is zero
    torch.testing.assert_close(aligned, expected)


def test_flow_beyond_the_frame_is_its_mirror_image():
    # The second patch holds columns 8-11, then 10, 9, 8, 7: its mean is (2·8 + 2·9 + 2·10 + 11 + 7) / 8 = 9.
    flow = torch.zeros(1, 2, 8, 12)
    flow[:, 0] = torch.arange(12.0)
    flow[:, 0, :, :8] = torch.tensor([0, 0, 0, 0, 0, 0, 0, 7.0])  # mean 0.875: one pixel
    reference = torch.randn(1, 2, 8, 12)
    aligned = PatchAlignment()(reference, reference, -flow)
    torch.testing.assert_close(aligned[..., 1:8], reference[..., :7])
    torch.testing.assert_close(aligned[..., 9:], reference[..., :3])
    assert not aligned[..., [0, 8]].any()


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (8, 3)])
def test_no_flow_changes_nothing_at_any_size(size):
    reference = torch.randn(2, 3, *size)
    torch.testing.assert_close(PatchAlignment()(reference, reference, torch.zeros(2, 2, *size)), reference)


def test_half_precision_features_are_found_at_far_positions():
    # bfloat16 holds no odd integer beyond 256.
    reference = (torch.arange(600) % 7).bfloat16().view(1, 1, 1, 600)
    aligned = PatchAlignment()(reference, reference, torch.zeros(1, 2, 1, 600))
    assert aligned.dtype == torch.bfloat16
    torch.testing.assert_close(aligned, reference)
