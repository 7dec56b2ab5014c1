"""Fixtures that every test may use."""

import logging
import os
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    # Kernels run in Triton's interpreter then, which must be asked for before anything imports Triton.
    os.environ.setdefault("TRITON_INTERPRET", "1")

import vsrm_arch  # noqa: F401  (mends BasicSR before a test imports it)


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="device of the tests that take one: cpu (default) or cuda")


def pytest_collection_modifyitems(config, items):
    no_gpu = pytest.mark.skip(reason="needs a CUDA device")
    no_data = pytest.mark.skip(reason="VSRM_DATA is not set: it names the folder of the real clips")
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(no_gpu)
        if item.get_closest_marker("data") and "VSRM_DATA" not in os.environ:
            item.add_marker(no_data)


@pytest.fixture
def device(request) -> torch.device:
    """The device named by --device."""
    return torch.device(request.config.getoption("--device"))


@pytest.fixture
def vsrm_data() -> Path:
    """The folder of the real clips; for tests marked ``data``."""
    return Path(os.environ["VSRM_DATA"]).resolve()


@pytest.fixture(autouse=True)
def _log():
    """BasicSR's logger writes to the standard error of the test that set it up: each test sets up its own."""
    yield
    from basicsr.utils.logger import initialized_logger

    logger = logging.getLogger("basicsr")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
    initialized_logger.clear()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
