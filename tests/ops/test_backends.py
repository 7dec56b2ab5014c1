import logging
from pathlib import Path

import pytest
import torch

from vsrm_arch.errors import UserError
from vsrm_arch.ops import INSTALL_CUDA, describe_backends
from vsrm_arch.ops.backends import Backend, BackendInfo, Backends
from vsrm_arch.ops.causal_conv1d import cuda
from vsrm_arch.ops.selective_scan import mamba_ssm, selective_scan


def only_cuda(device_type):
    return None if device_type == "cuda" else f"it needs a CUDA device, not {device_type}"


@pytest.fixture
def backends(monkeypatch):
    monkeypatch.delenv("VSRM_SOME_OP_BACKEND", raising=False)
    return Backends(
        "some_op",
        [
            Backend("fused", lambda: "fused", only_cuda),
            Backend("plain", lambda: "plain"),
            Backend("slow", lambda: "slow"),
        ],
    )


@pytest.fixture
def records():
    """What the package's logger says, whatever BasicSR has done to its parents."""
    logger = logging.getLogger("basicsr.vsrm_arch")
    records, level = [], logger.level
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)


# Exceptions


def test_unknown_argument(backends):
    message = r"^some_op: the argument backend is 'triton'; the backends are fused, plain, slow$"
    with pytest.raises(UserError, match=message):
        backends.choose("triton", "cpu")


@pytest.mark.parametrize(
    ("backend", "module"), [(mamba_ssm, "selective_scan_cuda"), (cuda, "causal_conv1d_cuda")], ids=["scan", "conv"]
)
def test_a_missing_cuda_package_leads_to_the_readme(monkeypatch, backend, module):
    monkeypatch.setattr(backend, "_installed", lambda: False)
    assert backend.obstacle("cuda") == f"the module {module} is missing; {INSTALL_CUDA}"
    section = Path(__file__).parents[2].joinpath("README.md").read_text("utf-8").partition("\n## Backends\n")[2]
    assert INSTALL_CUDA == "the README's section Backends says how to install the extra cuda"
    assert 'pip install --no-build-isolation -e ".[cuda]"' in section.partition("\n## ")[0]


def test_unknown_name_in_the_environment(backends, monkeypatch):
    monkeypatch.setenv("VSRM_SOME_OP_BACKEND", "plane")
    message = (
        r"^some_op: the environment variable VSRM_SOME_OP_BACKEND is 'plane'; the backends are fused, plain, slow$"
    )
    with pytest.raises(UserError, match=message):
        backends.choose(None, "cpu")
    with pytest.raises(UserError, match=message):
        backends.describe("cpu")


def test_backend_that_cannot_run(backends, monkeypatch):
    message = r"some_op: the argument backend asks for backend 'fused', but it needs a CUDA device, not cpu$"
    with pytest.raises(UserError, match=message):
        backends.choose("fused", "cpu")
    monkeypatch.setenv("VSRM_SOME_OP_BACKEND", "fused")
    with pytest.raises(UserError, match=r"VSRM_SOME_OP_BACKEND asks for backend 'fused', but it needs a CUDA device"):
        backends.choose(None, "cpu")


def test_inputs_beyond_a_backend(backends):
    def limit(name):
        return "it takes at most 7 channels, not 8" if name == "fused" else None

    with pytest.raises(UserError, match=r"asks for backend 'fused', but it takes at most 7 channels, not 8$"):
        backends.choose("fused", "cuda", limit)
    assert backends.choose(None, "cuda", limit)() == "plain"


OPS = [
    "selective_scan",
    "causal_conv1d",
    "cross_scan",
    "gated_conv3d",
    "norm_linear",
    "gated_linear",
    "encoded_sample",
]


@pytest.mark.parametrize("op", OPS)
def test_every_op_reads_its_variable(op, monkeypatch):
    monkeypatch.setenv(f"VSRM_{op.upper()}_BACKEND", "fastest")
    with pytest.raises(UserError, match=f"^{op}: the environment variable VSRM_{op.upper()}_BACKEND is 'fastest'"):
        describe_backends()


# Choice


def test_best_available(backends):
    assert backends.choose(None, "cpu")() == "plain"
    assert backends.choose(None, "cuda")() == "fused"


def test_argument_before_environment(backends, monkeypatch):
    monkeypatch.setenv("VSRM_SOME_OP_BACKEND", "slow")
    assert backends.choose(None, "cuda")() == "slow"
    assert backends.choose("plain", "cuda")() == "plain"


def test_empty_variable_is_none(backends, monkeypatch):
    monkeypatch.setenv("VSRM_SOME_OP_BACKEND", "")
    assert backends.choose(None, "cpu")() == "plain"


def test_op_follows_the_environment(monkeypatch, records):
    monkeypatch.setattr("vsrm_arch.ops.selective_scan.BACKENDS._logged", set())
    monkeypatch.setenv("VSRM_SELECTIVE_SCAN_BACKEND", "naive")
    u = torch.ones(1, 2, 3)
    selective_scan(u, u, -torch.ones(3, 1), u[..., :1], u[..., :1])
    assert records == ["selective_scan: backend 'naive' on cpu (the environment variable VSRM_SELECTIVE_SCAN_BACKEND)"]


def test_logged_once_for_each_backend_and_device(backends, records):
    for device_type in ("cpu", "cpu", "cuda"):
        backends.choose(None, device_type)
    assert records == [
        "some_op: backend 'plain' on cpu (best available)",
        "some_op: backend 'fused' on cuda (best available)",
    ]


def test_a_stand_in_takes_the_place_of_all(backends, monkeypatch):
    monkeypatch.setenv("VSRM_SOME_OP_BACKEND", "fused")
    with backends.replaced(lambda: "counted"):
        assert backends.choose("slow", "cpu")() == "counted"
        with pytest.raises(ZeroDivisionError), backends.replaced(lambda: 1 / 0):
            backends.choose(None, "cpu")()
    monkeypatch.delenv("VSRM_SOME_OP_BACKEND")
    assert backends.choose(None, "cpu")() == "plain"


# Description


def test_description(backends, monkeypatch):
    assert backends.describe("cpu") == [
        BackendInfo("some_op", "cpu", "fused", False, False, "it needs a CUDA device, not cpu"),
        BackendInfo("some_op", "cpu", "plain", True, True, "best available"),
        BackendInfo("some_op", "cpu", "slow", True, False, ""),
    ]
    monkeypatch.setenv("VSRM_SOME_OP_BACKEND", "slow")
    assert [info.chosen for info in backends.describe("cuda")] == [False, False, True]


def test_description_of_all_ops():
    infos = describe_backends(["cpu", "cuda"])
    assert {info.op for info in infos} == set(OPS)
    for device_type in ("cpu", "cuda"):
        chosen = [info.op for info in infos if info.chosen and info.device_type == device_type]
        assert chosen == OPS
    assert {info.device_type for info in describe_backends()} >= {"cpu"}
