"""What the results of a test depend on."""

import os

import pytest

from vsrm_arch.models.recipe import is_made_by, recipe, write_recipe

OPTIONS = {
    "datasets": {"test": {"name": "A", "dataroot_gt": "gt"}, "test_2": {"name": "B", "dataroot_gt": "other"}},
    "network_g": {"type": "VSRM", "embed_dim": 8},
    "scale": 4,
    "path": {"pretrain_network_g": "net.pth", "param_key_g": "auto"},
    "val": {"save_img": True, "flip_seq": False, "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 0}}},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pth").write_bytes(b"weights")
    write_recipe(tmp_path / "A", OPTIONS, "A")
    return tmp_path / "A"


def test_it_is_that_of_the_same_test(folder):
    assert is_made_by(folder, OPTIONS, "A")
    shown = OPTIONS | {"val": OPTIONS["val"] | {"save_img": False, "suffix": "x"}}
    assert is_made_by(folder, shown, "A")
    assert recipe(OPTIONS, "A")["dataset"]["dataroot_gt"] == "gt"


@pytest.mark.parametrize(
    "change",
    [
        {"val": OPTIONS["val"] | {"flip_seq": True}},
        {"network_g": {"type": "VSRM", "embed_dim": 16}},
        {"path": OPTIONS["path"] | {"param_key_g": "params"}},
        {"datasets": {"test": {"name": "A", "dataroot_gt": "elsewhere"}}},
    ],
)
def test_it_is_not_that_of_another(folder, change):
    assert not is_made_by(folder, OPTIONS | change, "A")


def test_it_is_not_that_of_other_weights_nor_a_damaged_one(folder, tmp_path):
    assert not is_made_by(tmp_path / "B", OPTIONS, "B")
    os.utime("net.pth", (1, 1))
    assert not is_made_by(folder, OPTIONS, "A")
    (folder / "recipe.json").write_text("{")
    assert not is_made_by(folder, OPTIONS, "A")
