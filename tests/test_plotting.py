"""Pictures drawn with matplotlib."""

import sys
from pathlib import Path

import pytest

from vsrm_arch.errors import UserError
from vsrm_arch.plotting import check_plot, save_plot


def test_a_name_without_a_format():
    with pytest.raises(UserError, match=r"--plot speed\.txt: no picture format; name a file that ends in \.png"):
        check_plot(Path("speed.txt"))


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"-o needs matplotlib: pip install 'vsrm-arch\[plot\]'"):
        check_plot(Path("speed.png"), "-o")


def test_nowhere_to_write(tmp_path):
    with pytest.raises(UserError, match=r"--plot .*no/a\.png: there is no folder .*no; make it first"):
        check_plot(tmp_path / "no" / "a.png")
    (tmp_path / "a.png").mkdir()
    with pytest.raises(UserError, match=r"--plot .*a\.png: is a folder"):
        check_plot(tmp_path / "a.png")


def test_a_failure_leaves_the_old_picture(tmp_path):
    class Broken:
        def savefig(self, file, **_):
            file.write(b"half")
            raise OSError(28, "No space left on device")

    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space left on device"):
        save_plot(Broken(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
