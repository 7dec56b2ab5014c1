import importlib.util

import pytest

from vsrm_arch.bench.plot import Bar, network_bars, op_bars, plot

matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib: the extra plot"
)


def test_bars_leave_out_what_failed():
    from test_report import FAILED, NETWORK, OP

    assert network_bars([NETWORK, FAILED]) == [Bar("64x64", "VSRM, bf16", 12.345, 12.0, 13.0)]
    assert op_bars([OP]) == [Bar("cross_scan\n5x9x4x2\nforward", "portable, bf16", 0.5, 0.4, 0.6)]


@matplotlib
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_picture(tmp_path, suffix):
    path = tmp_path / f"speed.{suffix}"
    # The second series has no bar in the second group.
    bars = [Bar("a", "x", 1.0, 0.9, 1.2), Bar("a", "y", 30.0, 30.0, 30.0), Bar("b", "x", 2.0, 1.0, 3.0)]
    plot(path, bars, "ms a frame", "a card")
    assert path.stat().st_size > 1000
