import os
import subprocess
import sys

import huggingface_hub
import pytest
from huggingface_hub import errors

from vsrm_arch.errors import UserError
from vsrm_arch.inference import load, save
from vsrm_arch.inference.hub import fetch, is_hub_path


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What is asked of the Hub, which has the sample's weights in every repository."""
    questions = []
    path = tmp_path / "cache" / "model.safetensors"
    path.parent.mkdir()

    def download(repository, file, revision=None):
        questions.append((repository, file, revision))
        sample = load("sample")
        save(path, sample.options, sample.network.state_dict(), scale=4, iteration=sample.iteration)
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.chdir(tmp_path)
    return questions


@pytest.mark.parametrize(
    ("path", "question"),
    [
        ("user/vsrm", ("user/vsrm", "model.safetensors", None)),
        ("hf://user/vsrm", ("user/vsrm", "model.safetensors", None)),
        ("user/vsrm@v1.0", ("user/vsrm", "model.safetensors", "v1.0")),
        ("user/vsrm-x4.1/reds.safetensors", ("user/vsrm-x4.1", "reds.safetensors", None)),
        ("hf://user/vsrm@0a1b/full/reds.pth", ("user/vsrm", "full/reds.pth", "0a1b")),
    ],
)
def test_paths(asked, path, question):
    assert is_hub_path(path)
    assert fetch(path).is_file()
    assert asked == [question]


def test_loading(asked):
    loaded = load("user/vsrm")
    assert (loaded.source, loaded.name, loaded.scale, loaded.iteration) == ("user/vsrm", "VSRM", 4, 200)
    assert not loaded.demonstration


@pytest.mark.parametrize(
    "path",
    ["sample", "net.pth", "models/net.pth", "models/net.safetensors", "a/models/net_g.pth", "/a/b", "../a/b", "./a/b"],
)
def test_local_paths(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    assert not is_hub_path(path)


def test_a_folder_here_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_path("runs/vsrm/net.safetensors")
    (tmp_path / "runs").mkdir()
    assert not is_hub_path("runs/vsrm/net.safetensors")
    with pytest.raises(UserError, match=r"cannot read runs/vsrm/net.safetensors: No such file"):
        load("runs/vsrm/net.safetensors")


@pytest.mark.parametrize("path", ["hf://", "hf://user", "hf://user/vsrm@", "hf://../a", "hf://user/vsrm/a@v1"])
def test_what_is_no_path(path):
    with pytest.raises(UserError, match=r"^weights: hf://.* is no path on the Hugging Face Hub: give USER/REPOSITORY"):
        load(path)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.GatedRepoError, "user/vsrm asks for a permission: request it on its page, then log in with HF_TOKEN=…"),
        (errors.RepositoryNotFoundError, "no file here, and the Hugging Face Hub shows no repository user/vsrm; check"),
        (errors.RevisionNotFoundError, "user/vsrm has no revision v2; check its name"),
        (errors.EntryNotFoundError, "user/vsrm has no file a.safetensors; name one that it has: USER/REPOSITORY/FILE"),
        (errors.LocalEntryNotFoundError, "no file here, not in the cache of the Hugging Face Hub, and no connection"),
        (OSError, "cannot be had from the Hugging Face Hub (OSError); mend that, or give a file"),
    ],
)
def test_failures(monkeypatch, error, message):
    def download(*_, **__):
        raise error.__new__(error)  # the constructors want a response of the Hub

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(UserError) as caught:
        load("user/vsrm@v2/a.safetensors")
    assert str(caught.value).startswith(f"weights: user/vsrm@v2/a.safetensors: {message}")
    assert "\n" not in str(caught.value)


def test_without_huggingface_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"^weights: user/vsrm is no file here, .*: pip install 'vsrm-arch\[hub\]'$"):
        load("user/vsrm")


def test_without_a_connection(tmp_path):
    """For real; offline by the package's own switch, since it tries for half a minute to connect."""
    program = "from vsrm_arch.inference import load; load('user/vsrm')"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].startswith(
        "vsrm_arch.errors.UserError: weights: user/vsrm: no file here, not in the cache of the Hugging Face Hub"
    )
