"""What a validation asks of a metric."""

import pytest
from basicsr.utils.registry import METRIC_REGISTRY

from vsrm_arch.metrics import traits


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ({"type": "calculate_psnr"}, "higher"),
        ({"type": "calculate_niqe", "better": "lower"}, "lower"),
        ({"type": "calculate_lpips"}, "lower"),
        ({"type": "calculate_warping_error", "better": "lower"}, "lower"),
    ],
)
def test_better(metric, expected):
    assert traits.better(metric) == expected


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ({"type": "calculate_warping_error"}, True),
        ({"type": "calculate_lpips"}, False),
        ({"type": "calculate_psnr"}, False),
        # The faults of an option file are told elsewhere.
        ({"type": "unknown"}, False),
        ({"type": ["calculate_warping_error"]}, False),
        ({}, False),
    ],
)
def test_takes_clips(metric, expected):
    assert traits.takes_clips(metric) is expected


def test_prepare(monkeypatch):
    def metric(img, img2):
        return 0

    seen = []
    metric.prepare = seen.append
    monkeypatch.setitem(METRIC_REGISTRY._obj_map, "mine", metric)
    for section in ({"type": "mine", "net": "a"}, {"type": "calculate_psnr"}):
        traits.prepare(section)
    assert seen == [{"type": "mine", "net": "a"}]
