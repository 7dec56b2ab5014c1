"""Networks of published arguments and their published numbers of parameters."""

import logging
from pathlib import Path

import pytest
import torch
from basicsr.archs.basicvsrpp_arch import BasicVSRPlusPlus

from vsrm_arch.bench.network_files import NetworkFile, check_count, read_networks
from vsrm_arch.bench.networks import bench_networks
from vsrm_arch.bench.published import published_count

OPTIONS = Path(__file__).parents[2] / "options"
SHIPPED = {
    "VSRM": 17_076_281,
    "IART": 13_410_503,
    "PSRT": 13_366_943,
    "BasicVSRPP": 7_322_927,
    "EDVR": 20_633_827,
}


@pytest.fixture
def told(monkeypatch, caplog):
    """What is warned of, also once BasicSR has set up its logger."""
    monkeypatch.setattr(logging.getLogger("basicsr.vsrm_arch"), "handlers", [caplog.handler])
    monkeypatch.setattr(logging.getLogger("basicsr.vsrm_arch"), "propagate", False)
    return caplog


@pytest.fixture
def stock(monkeypatch):
    """BasicSR's own BasicVSR++ where CUDA is absent: it lacks its alignment."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(BasicVSRPlusPlus, "__init__", BasicVSRPlusPlus.__init__.__wrapped__)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_networks_are_those_published(name, monkeypatch, told):
    monkeypatch.chdir(OPTIONS.parent)
    for file in read_networks(
        [f"options/{kind}_{name}_{data}.yml" for kind, data in (("train", "REDS"), ("test", "REDS4"))]
    ):
        assert published_count(file.options) == SHIPPED[name]
        check_count(file)
    assert told.messages == []


@pytest.mark.parametrize(
    ("network", "count"),
    [
        ({"type": "IART", "depths": [6, 6, 6], "checkpoint": True, "spynet_path": "a.pth"}, 13_410_503),
        ({"type": "BasicVSRPlusPlus"}, 7_322_927),
        ({"type": "VSRM", "embed_dim": 72}, None),
        ({"type": "VSRM", "ffn": "ffn"}, None),
        ({"type": "BasicVSRPlusPlus", "is_low_res_input": False}, None),
        ({"type": "Bicubic"}, None),
    ],
)
def test_arguments(network, count):
    assert published_count(network) == count


@pytest.mark.filterwarnings("ignore:Deformable alignment module is not added")
def test_a_mutilated_network_is_told(stock, told):
    network = {"type": "BasicVSRPlusPlus", "mid_channels": 64, "num_blocks": 7}
    bench_networks(
        [NetworkFile.of("mine", network), NetworkFile.of("small", {**network, "num_blocks": 1})],
        [(64, 64)], ["float32"], None, device=torch.device("cpu"), counted=False,
    )  # fmt: skip
    assert told.messages == [
        "mine: BasicVSRPlusPlus has 5,283,439 parameters here, as published 7,322,927: it is another network, and "
        "figures of it are not those of the published one"
    ]
