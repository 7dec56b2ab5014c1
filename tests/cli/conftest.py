import cv2
import numpy as np
import pytest
import torch
import yaml

from vsrm_arch.archs import VSRM

TINY = {"embed_dim": 8, "num_damb": 1, "num_s2tmb": 1, "d_state": 4, "flow_network": "none"}


@pytest.fixture
def two_tests(tmp_path, monkeypatch):
    """A clip, and the option files of two tests on it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for folder, side in (("gt", 32), ("lq", 8)):
        (tmp_path / folder / "clip").mkdir(parents=True)
        for i in range(2):
            image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / folder / "clip" / f"{i}.png"), image)
    torch.save({"params": VSRM(**TINY).state_dict()}, "net.pth")
    for name, network, weights in (("bic", {"type": "Bicubic"}, None), ("tiny", {"type": "VSRM", **TINY}, "net.pth")):
        options = {
            "name": name,
            "model_type": "RecurrentVSRModel",
            "scale": 4,
            "num_gpu": 0,
            "manual_seed": 0,
            "datasets": {
                "test": {"name": "Clips", "type": "VideoClipDataset", "dataroot_gt": "gt", "dataroot_lq": "lq"}
            },
            "network_g": network,
            "path": {"pretrain_network_g": weights},
            "val": {
                "save_img": False,
                "compare_bicubic": name == "tiny",
                "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 0}},
            },
        }
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(options), encoding="utf-8")
    return tmp_path
