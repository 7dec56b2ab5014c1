"""vsrm_arch.data.sources: reading frames, and every way in which they can be unreadable."""

import multiprocessing
import os
import pickle
import re
import threading

import cv2
import numpy as np
import pytest

from vsrm_arch.data.errors import DataError
from vsrm_arch.data.images import natural_key
from vsrm_arch.data.sources import open_frames, open_lmdb


def blue(frames):
    """The frame numbers that a list of RGB frames is coded with."""
    return [int(frame[0, 0, 2]) for frame in frames]


@pytest.mark.parametrize("kind", ["gt", "gt.lmdb"])
def test_reads_clips(lmdb_pair, kind, coded_frame):
    source = open_frames(lmdb_pair / kind)
    assert {clip: len(frames) for clip, frames in source.clips.items()} == {"a": 12, "b": 5}
    frames = source.read("a", [3, 11, 3])
    assert blue(frames) == [3, 11, 3]
    np.testing.assert_array_equal(frames[0], coded_frame(3, 8, 12, 4)[..., ::-1])
    assert source.key("a", 3) == "a/00000003"
    assert source.where("a", 3).startswith(str(lmdb_pair / kind / "a/00000003"))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg", ".PNG"])
def test_any_image_type_and_naming_in_natural_order(tmp_path, suffix, write_clip):
    write_clip(tmp_path / "deep/clip", 12, 8, 8, name="shot{}" + suffix)
    (tmp_path / "deep/clip/notes.txt").write_text("no frame")
    (tmp_path / "deep/clip/._shot1.png").write_bytes(b"an archiver's left-over")
    source = open_frames(tmp_path)
    assert list(source.clips) == ["deep/clip"]
    frames = source.read("deep/clip", range(12))
    assert np.abs(np.subtract(blue(frames), range(12))).max() <= (12 if suffix == ".jpg" else 0)
    assert source.clips["deep/clip"][2].endswith(f"shot2{suffix}")


def test_grey_and_16_bit_pictures_become_rgb_bytes(tmp_path):
    (tmp_path / "c").mkdir()
    cv2.imwrite(str(tmp_path / "c/0.png"), np.full((8, 8), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "c/1.png"), np.full((8, 8, 3), 90 * 257, np.uint16))
    for frame in open_frames(tmp_path).read("c", [0, 1]):
        assert frame.shape == (8, 8, 3)
        assert (frame == 90).all()


def test_natural_key():
    names = ["f10", "f9", "f010", "F1", "e100"]
    assert sorted(names, key=natural_key) == ["e100", "F1", "f9", "f10", "f010"]


def read_keys(source, queue):
    queue.put(blue(source.read("a", [1, 2])))


def test_forked_processes_share_an_lmdb(lmdb_pair):
    source = open_frames(lmdb_pair / "gt.lmdb")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    # Open here while the other process reads, as a validation set in the main process is.
    with open_lmdb(lmdb_pair / "gt.lmdb"):
        process = context.Process(target=read_keys, args=(source, queue))
        process.start()
        assert queue.get(timeout=60) == [1, 2]
        process.join()
    assert process.exitcode == 0


def test_threads_and_sources_share_an_lmdb(lmdb_pair):
    sources = [open_frames(lmdb_pair / "gt.lmdb") for _ in range(2)]
    seen = []

    def read(source):
        for _ in range(30):
            seen.append(blue(source.read("a", [5])) == [5])

    threads = [threading.Thread(target=read, args=(source,)) for source in sources * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 120


def test_pickles(lmdb_pair):
    for kind in ("gt", "gt.lmdb"):
        source = pickle.loads(pickle.dumps(open_frames(lmdb_pair / kind)))
        assert blue(source.read("b", [4])) == [4]


def fails(match):
    return pytest.raises(DataError, match=f"^[^\n]*{match}[^\n]*$")


@pytest.mark.parametrize("name", ["none", "none.lmdb"])
def test_missing(tmp_path, name):
    with fails(rf"{name} does not exist \(looked for in .*basicsr prepare"):
        open_frames(tmp_path / name)


def test_folder_without_clips(tmp_path):
    (tmp_path / "empty").mkdir()
    with fails("holds no clips: expected a folder of frames"):
        open_frames(tmp_path)


@pytest.mark.parametrize("only", [None, ["clip"]])
def test_a_frame_of_two_types(tmp_path, write_clip, only):
    write_clip(tmp_path / "clip", 3, 8, 8)
    write_clip(tmp_path / "clip", 1, 8, 8, name="{:08d}.jpg")
    with fails(r"clip/00000000\.jpg and .*clip/00000000\.png are the same frame; remove one of them"):
        open_frames(tmp_path, only)


def test_frames_without_a_folder(tmp_path, write_clip):
    write_clip(tmp_path / "clip", 2, 8, 8)
    with fails(
        r"clip holds frames itself \(00000000\.png, …\), but must hold a folder of frames for each clip; move them into"
    ):
        open_frames(tmp_path / "clip")
    assert list(open_frames(tmp_path).clips) == ["clip"]


def test_file_in_place_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with fails("file is no folder"):
        open_frames(tmp_path / "file")


def test_lmdb_without_data(tmp_path):
    (tmp_path / "x.lmdb").mkdir()
    with fails("x.lmdb is no LMDB: it holds no data.mdb"):
        open_frames(tmp_path / "x.lmdb")


def test_no_lmdb(lmdb_pair):
    (lmdb_pair / "gt.lmdb/data.mdb").write_bytes(b"anything" * 5000)
    with fails("gt.lmdb is no readable LMDB .*basicsr prepare"):
        open_frames(lmdb_pair / "gt.lmdb")


@pytest.mark.parametrize("kept", [0, 100, 5000, 9000])
def test_truncated_lmdb(lmdb_pair, kept):
    os.truncate(lmdb_pair / "gt.lmdb/data.mdb", kept)
    with fails("gt.lmdb.* is (truncated .*bytes|no readable LMDB)"):
        open_frames(lmdb_pair / "gt.lmdb")


def test_lmdb_truncated_while_in_use(lmdb_pair):
    source = open_frames(lmdb_pair / "gt.lmdb")
    os.truncate(lmdb_pair / "gt.lmdb/data.mdb", 9000)
    with fails("data.mdb is truncated"):
        source.read("a", [11])


def test_damaged_pages(lmdb_pair):
    source = open_frames(lmdb_pair / "gt.lmdb")
    data = lmdb_pair / "gt.lmdb/data.mdb"
    content = data.read_bytes()
    data.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    with fails(r"gt\.lmdb is damaged \(.*MDB_CORRUPTED.*\); copy it again or make it with `basicsr prepare`"):
        source.read("a", [3])


def test_lmdb_without_meta_info(lmdb_pair):
    (lmdb_pair / "gt.lmdb/meta_info.txt").unlink()
    with fails("gt.lmdb has no meta_info.txt"):
        open_frames(lmdb_pair / "gt.lmdb")


@pytest.mark.parametrize("line", ["rubbish", "a/0.png (x,y,3) 1", "flat.png (8,8,3) 1"])
def test_bad_meta_info(lmdb_pair, line):
    with (lmdb_pair / "gt.lmdb/meta_info.txt").open("a") as file:
        file.write(f"{line}\n")
    with fails("meta_info.txt, line 18: expected `clip/frame.png .*, not `" + re.escape(line)):
        open_frames(lmdb_pair / "gt.lmdb")


def test_missing_key(lmdb_pair):
    with (lmdb_pair / "gt.lmdb/meta_info.txt").open("a") as file:
        file.write("a/00000012.png (32,48,3) 1\n")
    with fails("gt.lmdb has no key a/00000012, though meta_info.txt lists it"):
        open_frames(lmdb_pair / "gt.lmdb").read("a", [12])


def test_lmdb_held_open_by_another(lmdb_pair):
    import lmdb

    environment = lmdb.open(str(lmdb_pair / "gt.lmdb"), readonly=True, lock=False)
    try:
        with fails("gt.lmdb is held open by another data set of this process"):
            open_frames(lmdb_pair / "gt.lmdb")
    finally:
        environment.close()


@pytest.mark.parametrize("content", [b"", b"no picture at all", "half"])
def test_unreadable_image(pair, content):
    path = pair / "gt/a/00000003.png"
    path.write_bytes(path.read_bytes()[:60] if content == "half" else content)
    with fails("gt/a/00000003.png is no readable image"):
        open_frames(pair / "gt").read("a", [3])


def test_image_that_vanished(pair):
    source = open_frames(pair / "gt")
    (pair / "gt/a/00000003.png").unlink()
    with fails("00000003.png cannot be read: No such file"):
        source.read("a", [3])


def test_sizes_differ_within_a_clip(pair, coded_frame):
    cv2.imwrite(str(pair / "gt/a/00000003.png"), coded_frame(3, 8, 13, 4))
    with fails("00000003.png has 52x32 pixels, but .*00000002.png has 48x32; the frames of a clip must have one size"):
        open_frames(pair / "gt").read("a", [2, 3])


def test_a_folder_of_databases_is_no_set_of_frames(tmp_path):
    for name in ("val_GT", "train_GT"):
        (tmp_path / f"{name}.lmdb").mkdir()
    (tmp_path / "val" / "clip").mkdir(parents=True)
    with fails(f"{tmp_path} holds several sets of frames; name one of them: .*train_GT.lmdb, .*val_GT.lmdb"):
        open_frames(tmp_path)
