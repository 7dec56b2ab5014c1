"""BasicSR's EDVR on whole clips."""

import pytest
import torch
from basicsr.archs import build_network

from vsrm_arch.archs import ClipEDVR

SMALL = {"num_feat": 8, "deformable_groups": 2, "num_extract_block": 1, "num_reconstruct_block": 1}


@pytest.fixture
def edvr():
    return ClipEDVR(**SMALL).eval()


def test_parameters_are_those_published():
    with torch.device("meta"):
        assert sum(p.numel() for p in ClipEDVR().parameters()) == 20_633_827


def test_state_dict_is_that_of_basicsr_s_network(edvr):
    stock = build_network({"type": "EDVR", **SMALL})
    assert {k: v.shape for k, v in edvr.state_dict().items()} == {k: v.shape for k, v in stock.state_dict().items()}


@pytest.mark.parametrize(
    ("padding", "first", "last"),
    [
        ("replicate", [0, 0, 0, 1, 2], [4, 5, 6, 6, 6]),
        ("reflection", [2, 1, 0, 1, 2], [4, 5, 6, 5, 4]),
        ("reflection_circle", [4, 3, 0, 1, 2], [4, 5, 6, 3, 2]),
    ],
)
def test_each_frame_is_that_of_its_window(padding, first, last):
    edvr = ClipEDVR(**SMALL, padding=padding).eval()
    stock = build_network({"type": "EDVR", **SMALL}).eval()
    stock.load_state_dict(edvr.state_dict())
    clip = torch.rand(2, 7, 3, 8, 12)
    with torch.no_grad():
        out = edvr(clip)
        for frame, window in ((0, first), (3, [1, 2, 3, 4, 5]), (6, last)):
            torch.testing.assert_close(out[:, frame], stock(clip[:, window]))


def test_training_on_a_window_gives_its_centre(edvr):
    clip = torch.rand(1, 5, 3, 8, 8)
    whole = edvr(clip)
    centre = edvr.train()(clip)
    assert centre.shape == (1, 1, 3, 32, 32)
    torch.testing.assert_close(centre[:, 0], whole[:, 2])
    assert edvr(torch.rand(1, 6, 3, 8, 8)).shape[1] == 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_frame": 4}, "num_frame is 4; it must be odd"),
        ({"num_feat": 9}, "num_feat is 9; it must be a multiple of deformable_groups, 2"),
        ({"num_extract_block": 0}, "num_extract_block is 0; it must be at least 1"),
    ],
)
def test_arguments_that_cannot_be(values, message):
    with pytest.raises(ValueError, match=message):
        ClipEDVR(**{**SMALL, **values})
