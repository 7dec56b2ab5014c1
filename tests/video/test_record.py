import errno
import json
import subprocess
import sys

import pytest

from vsrm_arch.errors import UserError
from vsrm_arch.video import Record, faults_named, made_from


def fails(match):
    return pytest.raises(UserError, match=f"^[^\n]*{match}[^\n]*$")


def test_the_next_run_finds_what_is_whole(tmp_path):
    film = tmp_path / "a.mp4"
    assert made_from(film) is None
    Record(film, {"network": "x"}, resume=False).add("000000.mp4", 5, 0, 100)
    assert made_from(film) == {"network": "x"}
    assert Record(film, {"network": "x"}, resume=True).parts == [["000000.mp4", 5, 0, 100]]
    assert json.loads((tmp_path / "a.mp4.partial/record.json").read_text())["recipe"] == {"network": "x"}


def test_without_resume_it_goes(tmp_path):
    film = tmp_path / "a.mp4"
    record = Record(film, {}, resume=False)
    record.begin()
    record.add("000000.mp4", 5, 0, 100)
    assert Record(film, {}, resume=False).parts == []
    assert list(tmp_path.iterdir()) == []


def test_what_differs_is_named(tmp_path):
    film = tmp_path / "a.mp4"
    Record(film, {"network": "x", "window": (1, 2)}, resume=False).write()
    Record(film, {"network": "x", "window": (1, 2)}, resume=True)
    message = "a.mp4.partial holds was made with network x, not y; give the same, or start again with --force"
    with fails(message):
        Record(film, {"network": "y", "window": (1, 2)}, resume=True)


def test_stopped_before_the_first_part(tmp_path):
    (tmp_path / "a.mp4.partial").mkdir()
    assert Record(tmp_path / "a.mp4", {"network": "x"}, resume=True).parts == []


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"recipe": {}, "parts": [1]}'])
def test_damage_is_told(tmp_path, content):
    (tmp_path / "a.mp4.partial").mkdir()
    (tmp_path / "a.mp4.partial/record.json").write_text(content)
    with fails(r"a\.mp4\.partial is damaged; start again with --force, without --resume"):
        made_from(tmp_path / "a.mp4")


def test_the_folder_becomes_the_film(tmp_path):
    record = Record(tmp_path / "a", {}, resume=False)
    record.begin()
    (record.folder / "1.png").write_bytes(b"")
    record.become(tmp_path / "a")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["a", "a/1.png"]


def test_two_runs_at_once(tmp_path):
    pytest.importorskip("fcntl")
    film = tmp_path / "a.mp4"
    held = (
        "import sys, vsrm_arch, pathlib\n"
        "from vsrm_arch.video import Record\n"
        "record = Record(pathlib.Path(sys.argv[1]), {}, resume=False)\n"
        "record.begin()\n"
        "print('begun', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", held, str(film)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "begun\n"
        for resume in (False, True):
            with fails(r"a\.mp4\.partial is being written by another run; wait for it, or stop it"):
                Record(film, {}, resume).begin()
        other.kill()
    Record(film, {}, resume=True).begin()


def test_what_is_not_ours_stays(tmp_path):
    (tmp_path / "a.mp4.partial").mkdir()
    (tmp_path / "a.mp4.partial/thesis.txt").write_text("precious")
    with fails(r"a\.mp4\.partial holds something else than a part of a film; move it away"):
        Record(tmp_path / "a.mp4", {}, resume=False)
    assert (tmp_path / "a.mp4.partial/thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full; make room"),
        (errno.EROFS, r"the disk fails \(broken\); use a folder that can be written"),
    ],
)
def test_faults_of_the_disk(tmp_path, number, words):
    film = tmp_path / "a.mp4"
    with (
        fails(rf"a\.mp4: {words}"),
        faults_named(film),
    ):
        raise OSError(number, "broken")
