"""Building for trial: what it tells, and what it leaves alone."""

import logging
import warnings

import pytest
import torch
from torch import nn

from vsrm_arch.config import OptionError
from vsrm_arch.config.trial import try_to_build

WHERE = "a.yml: network_g"


class Network(nn.Module):
    built: list[str] = []  # noqa: RUF012

    def __init__(self, dim: int, flow_path: str | None = None) -> None:
        super().__init__()
        if flow_path is not None:
            raise AssertionError("a file is read")
        if dim < 1:
            raise ValueError(f"dim is {dim}; it must be at least 1")
        self.layer = nn.Linear(dim, dim)
        self.built.append(self.layer.weight.device.type)
        logging.getLogger("basicsr.vsrm_arch").warning("no flow")
        warnings.warn("no flow", stacklevel=1)


class LooksAtValues(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, 1, count)]


class NeedsAFile:
    def __init__(self, weights_path: str) -> None:
        raise AssertionError("a file is read")


class TestTryToBuild:
    def test_takes_no_memory_reads_no_file_and_is_silent(self, caplog, recwarn):
        Network.built.clear()
        try_to_build(Network, {"dim": 2**20, "flow_path": "spynet.pth"}, WHERE)
        assert Network.built == ["meta"]
        assert not caplog.records
        assert not recwarn.list
        logging.getLogger("basicsr.vsrm_arch").warning("heard again")
        assert logging.root.manager.disable == logging.NOTSET

    def test_values_that_the_meta_device_does_not_have(self):
        try_to_build(LooksAtValues, {"count": 3}, WHERE)

    def test_what_needs_a_file_is_not_tried(self):
        try_to_build(NeedsAFile, {"weights_path": "a.pth"}, WHERE)

    @pytest.mark.parametrize(
        ("entry", "arguments", "message"),
        [
            (Network, {"dim": 0}, "Network cannot be built from these values: dim is 0; it must be at least 1"),
            (LooksAtValues, {"count": "3"}, "LooksAtValues cannot be built from these values: linspace() received an"),
        ],
    )
    def test_refuses(self, entry, arguments, message):
        with pytest.raises(OptionError) as error:
            try_to_build(entry, arguments, WHERE)
        assert str(error.value).startswith(f"{WHERE}: {message}")
        assert "\n" not in str(error.value)
