"""Writing pairs of targets: what is in them, and that nothing is lost, mixed up or overwritten."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest

from vsrm_arch.data.bicubic import downscale
from vsrm_arch.data.images import decode, encode_png
from vsrm_arch.data.prepare import targets
from vsrm_arch.data.prepare.encode import ImageClip, recipe, write_pair
from vsrm_arch.data.prepare.targets import FolderTarget, LmdbTarget
from vsrm_arch.data.sources import open_lmdb
from vsrm_arch.errors import UserError


def content(target):
    """Everything in a finished LMDB or folder, byte for byte."""
    if target.suffix == ".lmdb":
        with open_lmdb(target) as environment, environment.begin() as transaction:
            held = {bytes(key).decode(): bytes(value) for key, value in transaction.cursor()}
        return held | {"meta_info.txt": (target / "meta_info.txt").read_bytes()}
    return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*.*") if path.is_file()}


@pytest.fixture
def clips(tmp_path, write_clip, noise_frame):
    """Two clips of noise, 30x50, 6 and 4 frames."""
    made = []
    for name, count in (("x", 6), ("y", 4)):
        write_clip(tmp_path / "in" / name, count, 30, 50, name="f{}.png", image=noise_frame)
        files = tuple(f"f{i}.png" for i in range(count))
        made.append(ImageClip(name, tmp_path / "in" / name, files, (30, 50), numbered=True))
    return made


def make(clips, root, kind=LmdbTarget, scale=4, force=False, workers=2):
    suffix = ".lmdb" if kind is LmdbTarget else ""
    gt = kind(root / f"gt{suffix}", recipe(clips, scale, None), force)
    lq = kind(root / f"lq{suffix}", recipe(clips, scale, "bicubic"), force)
    write_pair(clips, gt, lq, scale, workers, "test")
    return content(gt.path), content(lq.path)


@pytest.mark.parametrize("kind", [LmdbTarget, FolderTarget])
@pytest.mark.parametrize("scale", [2, 4])
def test_content(clips, tmp_path, noise_frame, log, kind, scale):
    gt, lq = make(clips, tmp_path / "out", kind, scale)
    suffix = "" if kind is LmdbTarget else ".png"
    image = noise_frame(3, 30, 50)[: 30 // scale * scale, : 50 // scale * scale]
    assert gt[f"x/00000003{suffix}"] == encode_png(image)
    assert lq[f"x/00000003{suffix}"] == encode_png(downscale(image, scale))
    names = {f"{clip}/{i:08d}{suffix}" for clip, count in (("x", 6), ("y", 4)) for i in range(count)}
    extra = "meta_info.txt" if kind is LmdbTarget else ".prepare.json"
    assert set(gt) == set(lq) == names | {extra}
    if scale == 4:
        assert "x: 50x30 cropped to 48x28, multiples of 4" in log
    assert not list((tmp_path / "out").glob("*.partial"))


def test_meta_info_is_basicsrs(clips, tmp_path):
    gt, lq = make(clips, tmp_path)
    assert gt["meta_info.txt"].decode().splitlines()[:2] == ["x/00000000.png (28,48,3) 1", "x/00000001.png (28,48,3) 1"]
    assert lq["meta_info.txt"].decode().splitlines()[-1] == "y/00000003.png (7,12,3) 1"


def test_same_as_basicsrs_maker(clips, tmp_path):
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    make(clips, tmp_path, scale=2)
    files = [f"{clip.name}/{file}" for clip in clips for file in clip.files]
    keys = [f"{clip.name}/{i:08d}" for clip in clips for i in range(clip.length)]
    make_lmdb_from_imgs(str(tmp_path / "in"), str(tmp_path / "theirs.lmdb"), files, keys, map_size=2**24)
    assert content(tmp_path / "theirs.lmdb") == content(tmp_path / "gt.lmdb")


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_do_not_matter(clips, tmp_path, workers):
    assert make(clips, tmp_path / "a", workers=workers) == make(clips, tmp_path / "b", workers=2)


def test_the_map_grows(clips, tmp_path, monkeypatch):
    expected = make(clips, tmp_path / "a")
    monkeypatch.setattr(targets, "_MAP_STEP", 16384)
    monkeypatch.setattr(targets, "_BATCH_BYTES", 10000)
    assert make(clips, tmp_path / "b") == expected
    # No reserve is left behind.
    size = sum(len(value) for value in expected[0].values())
    assert (tmp_path / "b/gt.lmdb/data.mdb").stat().st_size < 2 * size + 100_000


# Interruptions.


class _AfterPuts:
    """Makes the n-th put raise."""

    def __init__(self, monkeypatch, kind, n, error):
        put, count = kind.put, iter(range(10**6))

        def failing(target, key, png):
            if next(count) == n:
                raise error
            put(target, key, png)

        monkeypatch.setattr(kind, "put", failing)


@pytest.mark.parametrize("kind", [LmdbTarget, FolderTarget])
@pytest.mark.parametrize("n", [0, 1, 7, 19])
def test_restart_after_ctrl_c(clips, tmp_path, monkeypatch, kind, n):
    expected = make(clips, tmp_path / "whole", kind)
    with monkeypatch.context() as patch:
        _AfterPuts(patch, kind, n, KeyboardInterrupt())
        with pytest.raises(
            KeyboardInterrupt, match=r"what is done is kept in .*partial.*; to go on give the same command"
        ):
            make(clips, tmp_path / "out", kind)
    assert not (tmp_path / "out/gt").exists()
    assert not (tmp_path / "out/gt.lmdb").exists()
    done = []
    with monkeypatch.context() as patch:
        put = kind.put
        patch.setattr(kind, "put", lambda target, key, png: (done.append(key), put(target, key, png)))
        assert make(clips, tmp_path / "out", kind) == expected
    assert len(done) == 20 - n


@pytest.mark.parametrize("kind", [LmdbTarget, FolderTarget])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), lmdb.Error("mdb_put: No space left on device")]
)
def test_disk_full(clips, tmp_path, monkeypatch, kind, error):
    expected = make(clips, tmp_path / "whole", kind)
    with monkeypatch.context() as patch:
        _AfterPuts(patch, kind, 9, error)
        with pytest.raises(UserError, match=r"^the disk of .*out is full; make room and run .* again, .*gt.*\.partial"):
            make(clips, tmp_path / "out", kind)
    assert make(clips, tmp_path / "out", kind) == expected


def test_a_short_write_of_lmdb_is_a_full_disk(clips, tmp_path, monkeypatch):
    # What LMDB says on a file system that is full.
    _AfterPuts(monkeypatch, LmdbTarget, 9, lmdb.Error("mdb_txn_commit: Input/output error"))
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**12))
    with pytest.raises(
        UserError, match=r"^[^\n]*broken: mdb_txn_commit: Input/output error; mend that .* is kept in [^\n]*partial$"
    ):
        make(clips, tmp_path / "broken")
    _AfterPuts(monkeypatch, LmdbTarget, 9, lmdb.Error("mdb_txn_commit: Input/output error"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(1000))
    with pytest.raises(UserError, match=r"the disk of .* is full"):
        make(clips, tmp_path / "full")


def test_folder_that_cannot_be_written(clips, tmp_path):
    (tmp_path / "out").write_text("a file in its place")
    with pytest.raises(
        UserError,
        match=r"^[^\n]*out.*: (File exists|Not a directory); move .* and run the same .* again, nothing was written$",
    ):
        make(clips, tmp_path / "out")


@pytest.mark.parametrize("kind", [LmdbTarget, FolderTarget])
def test_read_only_folder(clips, tmp_path, monkeypatch, kind):
    out = tmp_path / "out"
    mkdir = Path.mkdir

    def refuse(path, *args, **kwargs):
        if out in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        mkdir(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(
            UserError,
            match=r"^[^\n]*out/gt[^\n]*\.partial: Permission denied; mend its permissions or use another folder "
            r"and run the same command again, nothing was written$",
        ):
            make(clips, out, kind)
    # What an earlier run has done is still there.
    with monkeypatch.context() as patch:
        _AfterPuts(patch, kind, 3, PermissionError(errno.EACCES, "Permission denied", "frame"))
        with pytest.raises(UserError, match=r"^frame: Permission denied; .*, what is done is kept in .*gt.* and .*lq"):
            make(clips, out, kind)


def test_programming_errors_are_not_hidden(clips, tmp_path, monkeypatch):
    _AfterPuts(monkeypatch, LmdbTarget, 3, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        make(clips, tmp_path)


@pytest.mark.parametrize("kind", [LmdbTarget, FolderTarget])
def test_restart_after_kill_9(clips, tmp_path, kind):
    expected = make(clips, tmp_path / "whole", kind)
    script = """
        import os, signal
        from pathlib import Path
        from vsrm_arch.data.prepare import targets
        from vsrm_arch.data.prepare.clips import prepare_clips
        targets._BATCH_BYTES = 9000  # a commit every other frame
        count = iter(range(100))
        put = targets.{kind}.put
        def killing(target, key, png):
            if next(count) == 13:
                os.kill(os.getpid(), signal.SIGKILL)
            put(target, key, png)
        targets.{kind}.put = killing
        prepare_clips([Path({source!r})], Path({output!r}), test={test}, workers=2)
    """
    test = kind is FolderTarget
    keys = {"kind": kind.__name__, "source": str(tmp_path / "in"), "output": str(tmp_path / "out"), "test": test}
    command = [sys.executable, "-c", textwrap.dedent(script).format(**keys)]
    died = subprocess.run(command, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    left = list((tmp_path / "out").iterdir())
    assert {path.suffix for path in left} == {".partial"}

    from vsrm_arch.data.prepare import clips as module

    done = []
    original = kind.put
    kind.put = lambda target, key, png: (done.append(key), original(target, key, png))
    try:
        module.prepare_clips([tmp_path / "in"], tmp_path / "out", test=test, workers=2)
    finally:
        kind.put = original
    names = ("GT", "BIx4") if test else ("train_GT.lmdb", "train_BIx4.lmdb")
    made = tuple(content(tmp_path / "out" / name) for name in names)
    for now, before in zip(made, expected, strict=True):
        assert {k: v for k, v in now.items() if k != ".prepare.json"} == {
            k: v for k, v in before.items() if k != ".prepare.json"
        }
    # Of twenty pictures thirteen were done; LMDB had yet to commit the seven small ones among them.
    assert len(done) == (7 if test else 14)


def test_half_written_files_do_not_count(clips, tmp_path):
    expected = make(clips, tmp_path / "whole", FolderTarget)
    gt = FolderTarget(tmp_path / "out/gt", recipe(clips, 4, None))
    gt.open()
    (gt.partial / "x").mkdir()
    (gt.partial / "x/.00000002.png.partial").write_bytes(b"half")
    assert make(clips, tmp_path / "out", FolderTarget) == expected


# What lies there already.


@pytest.mark.parametrize("kind", [LmdbTarget, FolderTarget])
def test_finished_is_left_alone(clips, tmp_path, log, kind, monkeypatch):
    first = make(clips, tmp_path, kind)
    monkeypatch.setattr(kind, "put", lambda *_: pytest.fail("written again"))
    assert make(clips, tmp_path, kind) == first
    assert sum("is complete already" in line for line in log) == 2


def test_one_finished_target_is_left_alone(clips, tmp_path):
    expected = make(clips, tmp_path)
    before = (tmp_path / "gt.lmdb/data.mdb").stat().st_mtime_ns
    (tmp_path / "lq.lmdb").rename(tmp_path / "away.lmdb")
    assert make(clips, tmp_path) == expected
    assert (tmp_path / "gt.lmdb/data.mdb").stat().st_mtime_ns == before


@pytest.mark.parametrize("kind", [LmdbTarget, FolderTarget])
def test_something_else_is_not_overwritten(clips, tmp_path, kind):
    first = make(clips, tmp_path, kind)
    with pytest.raises(UserError, match=r"gt.* is there already and was not made from the same data; .*--force$"):
        make(clips[:1], tmp_path, kind)
    assert make(clips, tmp_path, kind) == first
    stranger = tmp_path / "theirs" / ("gt.lmdb" if kind is LmdbTarget else "gt")
    stranger.mkdir(parents=True)
    with pytest.raises(UserError, match="is there already"):
        make(clips, tmp_path / "theirs", kind)


@pytest.mark.parametrize("kind", [LmdbTarget, FolderTarget])
def test_force_replaces_when_the_new_is_complete(clips, tmp_path, monkeypatch, kind):
    first = make(clips, tmp_path / "out", kind)
    second = make(clips[:1], tmp_path / "second", kind)
    name = "gt.lmdb" if kind is LmdbTarget else "gt"
    with monkeypatch.context() as patch:
        _AfterPuts(patch, kind, 5, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            make(clips[:1], tmp_path / "out", kind, force=True)
    assert content(tmp_path / "out" / name) == first[0]
    assert make(clips[:1], tmp_path / "out", kind, force=True) == second
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [name, name.replace("gt", "lq")]


def test_a_partial_of_other_data(clips, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _AfterPuts(patch, LmdbTarget, 5, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            make(clips, tmp_path / "out")
    with pytest.raises(
        UserError, match=r"gt\.lmdb\.partial is left from a run with other data; delete it or use --force"
    ):
        make(clips[:1], tmp_path / "out")
    assert make(clips[:1], tmp_path / "out", force=True) == make(clips[:1], tmp_path / "whole")


@pytest.mark.parametrize("kind", [LmdbTarget, FolderTarget])
def test_a_finished_one_that_lost_frames(clips, tmp_path, kind):
    expected = make(clips, tmp_path, kind)
    if kind is LmdbTarget:
        with lmdb.open(str(tmp_path / "gt.lmdb")) as environment, environment.begin(write=True) as transaction:
            transaction.delete(b"x/00000003")
    else:
        (tmp_path / "gt/x/00000003.png").unlink()
    with pytest.raises(
        UserError, match=r"^[^\n]*gt(\.lmdb)? holds 9 frames, but 10 were written; use --force to make it again$"
    ):
        make(clips, tmp_path, kind)
    assert make(clips, tmp_path, kind, force=True) == expected


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 5000)])
def test_a_finished_lmdb_that_is_damaged(clips, tmp_path, damage):
    expected = make(clips, tmp_path)
    damage(tmp_path / "gt.lmdb/data.mdb")
    with pytest.raises(UserError, match=r"^[^\n]*gt\.lmdb is damaged; use --force to make it again$"):
        make(clips, tmp_path)
    assert make(clips, tmp_path, force=True) == expected


def test_completed_but_not_renamed(clips, tmp_path, monkeypatch):
    expected = make(clips, tmp_path / "whole", FolderTarget)
    with monkeypatch.context() as patch:

        def killed(*_):
            raise KeyboardInterrupt

        patch.setattr(targets, "replace_folder", killed)
        with pytest.raises(KeyboardInterrupt):
            make(clips, tmp_path / "out", FolderTarget)
    assert make(clips, tmp_path / "out", FolderTarget) == expected


@pytest.mark.parametrize("change", ["content", "time"])
@pytest.mark.parametrize("kind", [LmdbTarget, FolderTarget])
def test_a_source_frame_replaced_under_its_name(clips, tmp_path, noise_frame, kind, change):
    make(clips, tmp_path, kind)
    path = clips[1].folder / "f2.png"
    before = path.stat()
    if change == "content":
        cv2.imwrite(str(path), np.zeros((30, 50, 3), np.uint8))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    again = [replace(clip) for clip in clips]
    with pytest.raises(UserError, match=r"gt.* is there already and was not made from the same data; .*--force$"):
        make(again, tmp_path, kind)


def stop_halfway(clips, root, monkeypatch, force=False):
    """Leaves a partial LMDB of several committed frames."""
    with monkeypatch.context() as patch:
        patch.setattr(targets, "_BATCH_BYTES", 1)
        _AfterPuts(patch, LmdbTarget, 9, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            make(clips, root, force=force)
    return root / "gt.lmdb.partial/data.mdb"


def spoil(data):
    """Overwrites all pages of an LMDB but those that lead to them."""
    content = data.read_bytes()
    data.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))


@pytest.mark.parametrize(
    "damage", [spoil, lambda data: data.write_bytes(b"anything" * 5000), lambda data: os.truncate(data, 9000)]
)
def test_a_partial_that_is_damaged(clips, tmp_path, monkeypatch, damage):
    expected = make(clips, tmp_path / "whole")
    damage(stop_halfway(clips, tmp_path / "out", monkeypatch))
    with pytest.raises(
        UserError, match=r"^the partial LMDB [^\n]*gt\.lmdb\.partial is damaged \([^\n]*\); delete it or use --force$"
    ):
        make(clips, tmp_path / "out")
    assert make(clips, tmp_path / "out", force=True) == expected


def test_damage_that_is_met_later(clips, tmp_path, monkeypatch):
    def corrupted(*_, **__):
        raise lmdb.CorruptedError("mdb_put: MDB_CORRUPTED: Located page was wrong type")

    class Environment:
        begin = corrupted

        def close(self):
            pass

    monkeypatch.setattr(LmdbTarget, "_open", lambda self: (setattr(self, "_environment", Environment()), set())[1])
    monkeypatch.setattr(LmdbTarget, "_pending", [(b"x", b"y")], raising=False)
    with pytest.raises(UserError, match=r"partial is damaged \(mdb_put: MDB_CORRUPTED: .*\); delete it or use"):
        make(clips, tmp_path / "out")
    with pytest.raises(UserError, match=r"partial is damaged \(mdb_put: MDB_CORRUPTED: .*\); delete it$"):
        make(clips, tmp_path / "out", force=True)


# Bad input.


def test_unreadable_frame_keeps_what_is_done(clips, tmp_path):
    expected = make(clips, tmp_path / "whole")
    path = tmp_path / "in/y/f2.png"
    good = path.read_bytes()
    path.write_bytes(b"torn")
    with pytest.raises(UserError, match=r"^.*in/y/f2\.png is no readable image .*$"):
        make(clips, tmp_path / "out")
    path.write_bytes(good)
    assert make(clips, tmp_path / "out") == expected


def test_sizes_differ_within_a_clip(clips, tmp_path, noise_frame):
    cv2.imwrite(str(tmp_path / "in/x/f4.png"), noise_frame(0, 30, 48))
    with pytest.raises(
        UserError, match=r"f4\.png has 48x30 pixels, its clip 50x30; the frames of a clip must have one"
    ):
        make(clips, tmp_path)


def test_low_resolution_of_a_wrong_size(clips, tmp_path, write_clip):
    write_clip(tmp_path / "low", 6, 8, 12, name="f{}.png")
    clip = ImageClip("x", clips[0].folder, clips[0].files, (30, 50), low_folder=tmp_path / "low")
    with pytest.raises(UserError, match=r"the low resolution of .*f0\.png has 12x8 pixels, 1/4 of 48x28 was expected"):
        make([clip], tmp_path)


def test_jpeg_is_stored_as_decoded(tmp_path, write_clip, noise_frame):
    write_clip(tmp_path / "in", 2, 32, 32, name="{}.jpg", image=noise_frame)
    clip = ImageClip("c", tmp_path / "in", ("0.jpg", "1.jpg"), (32, 32))
    gt, _ = make([clip], tmp_path)
    np.testing.assert_array_equal(decode(gt["c/1"], ""), cv2.imread(str(tmp_path / "in/1.jpg")))


def test_default_workers_are_the_processors():
    from vsrm_arch.data.prepare.encode import default_workers

    assert 1 <= default_workers() <= (os.cpu_count() or 1)
