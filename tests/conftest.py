"""Fixtures that every test may use."""

import logging
import os
from pathlib import Path

# A thread each for several processes: PyTorch's threads on the same cores wait for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

if not torch.cuda.is_available():
    # Kernels run in Triton's interpreter then, which must be asked for before anything imports Triton.
    os.environ.setdefault("TRITON_INTERPRET", "1")

import vsrm_arch  # noqa: F401  (mends BasicSR before a test imports it)


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="device of the tests that take one: cpu (default) or cuda")


def pytest_collection_modifyitems(config, items):
    # The longest first: of several processes none is left alone with it at the end.
    items.sort(key=lambda item: not item.name.startswith("test_a_reader_follows_the_page"))
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


@pytest.fixture
def make_video():
    """Writes a tiny video with a sound track: called with its path, the frames' number, their size and more."""
    av = pytest.importorskip("av", reason="needs PyAV: the extra video")
    import numpy as np

    def make(path, num_frames=6, size=(16, 24), audio=True, codec="libx264", pix_fmt="yuv420p", **properties):
        with av.open(str(path), "w") as film:
            film.metadata["title"] = "A small film"
            video = sound = None
            if num_frames:
                video = film.add_stream(codec, rate=25)
                video.height, video.width, video.pix_fmt = *size, pix_fmt
                for name, value in properties.items():
                    setattr(video.codec_context, name, value)
            if audio:
                sound = film.add_stream("mp3" if str(path).endswith(".avi") else "aac", rate=44100)
            for i in range(num_frames):
                ramp = np.linspace(20 * i, 20 * i + 100, size[1]).astype(np.uint8)
                image = np.broadcast_to(ramp[None, :, None], (*size, 3))
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame.pts = i
                film.mux(video.encode(frame))
            if video is not None:
                film.mux(video.encode(None))
            if sound is not None:
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 8192), np.float32), format="fltp", layout="mono")
                frame.rate, frame.pts = 44100, 0
                film.mux(sound.encode(frame))
                film.mux(sound.encode(None))
        return path

    return make


@pytest.fixture
def random_trunk(tmp_path, monkeypatch):
    """Saves random weights where torchvision looks for those that LPIPS takes: called with the network's name there.

    None are there before, and no network that an earlier test has loaded is left.
    """
    from torchvision.models import get_model, get_model_weights

    from vsrm_arch.metrics import lpips

    checkpoints = tmp_path / "torch/hub/checkpoints"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def save(name: str) -> Path:
        with torch.device("meta"):
            shapes = {key: value.shape for key, value in get_model(name).state_dict().items()}
        generator = torch.Generator().manual_seed(0)
        # LPIPS leaves the classifier out: it is one number, which takes no room in the file.
        weights = {
            key: torch.zeros(()).expand(shape)
            if key.startswith("classifier")
            else 0.1 * torch.randn(shape, generator=generator)
            for key, shape in shapes.items()
        }
        checkpoints.mkdir(parents=True, exist_ok=True)
        path = checkpoints / Path(get_model_weights(name)["IMAGENET1K_V1"].url).name
        torch.save(weights, path)
        return path

    lpips._network.cache_clear()
    yield save
    lpips._network.cache_clear()


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
