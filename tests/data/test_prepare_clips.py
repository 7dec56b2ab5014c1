"""`prepare clips`: folders of frames and video files."""

import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest

from vsrm_arch.data import VideoClipDataset
from vsrm_arch.data.images import read_image
from vsrm_arch.data.prepare.clips import collect_clips, prepare_clips
from vsrm_arch.data.sources import open_frames
from vsrm_arch.errors import UserError


def write_video(path, frames, rate=Fraction(24), rotation=0, codec="ffv1", **options):
    """Writes BGR frames without loss."""
    import av

    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = {"ffv1": "bgr0", "png": "rgb24"}.get(codec, "yuv420p")
        if rotation:
            stream.set_display_rotation(rotation)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode())


def test_training_and_validation(tmp_path, write_clip, noise_frame, log):
    for name, count in (("a", 4), ("deep/b", 3), ("c", 2)):
        write_clip(tmp_path / "in" / name, count, 32, 48, name="{}.png", image=noise_frame)
    output = tmp_path / "datasets/mine"
    prepare_clips([tmp_path / "in"], output, val=["c"], workers=2)
    assert sorted(path.name for path in output.iterdir()) == [
        "meta_info_mine_train_GT.txt",
        "meta_info_mine_val_GT.txt",
        "train_BIx4.lmdb",
        "train_GT.lmdb",
        "val",
    ]
    assert (output / "meta_info_mine_train_GT.txt").read_text() == "a 4 (32,48,3)\ndeep/b 3 (32,48,3)\n"
    assert (output / "meta_info_mine_val_GT.txt").read_text() == "c 2 (32,48,3)\n"
    base = {"name": "mine", "type": "VideoClipDataset", "scale": 4}
    roots = {"dataroot_gt": str(output / "train_GT.lmdb"), "dataroot_lq": str(output / "train_BIx4.lmdb")}
    train = VideoClipDataset(base | roots | {"phase": "train", "num_frame": 2, "gt_size": 32})
    assert len(train) == 7
    assert train[6]["key"].startswith("deep/b/")
    roots = {"dataroot_gt": str(output / "val/GT"), "dataroot_lq": str(output / "val/BIx4")}
    val = VideoClipDataset(base | roots | {"phase": "val"})
    assert val[0]["gt"].shape == (2, 3, 32, 48)
    assert any("train_GT.lmdb: 2 clips, 7 frames" in line for line in log)


def test_test_set(tmp_path, write_clip):
    write_clip(tmp_path / "in/a", 2, 30, 50)
    prepare_clips([tmp_path / "in"], tmp_path / "out", test=True, scale=2, workers=1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["BIx2", "GT", "meta_info_out_test_GT.txt"]
    assert read_image(tmp_path / "out/BIx2/a/00000001.png").shape == (15, 25, 3)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 1, 3, 4), "lacks 1 frame number (2);"),
        ((7, 8, 9, 12, 13, 20), "lacks 8 frame numbers (10, 11, 14, …);"),
        ((0, 5, 10, 20), "lacks 1 frame number (15);"),
        ((0, 1, 2, 3, 10**12), "lacks 999999999996 frame numbers (4, 5, 6, …);"),
        ((5, 6, 7), None),
        ((0, 5, 10), None),
        ((1017, 1080, 1099, 1204), None),
        ((3,), None),
    ],
)
def test_gaps_in_the_numbers(tmp_path, write_clip, log, numbers, message):
    folder = tmp_path / "in/a"
    for number in numbers:
        write_clip(folder, 1, 8, 8, name=f"shot2_{number:04d}_left.png")
    assert collect_clips([tmp_path / "in"])[0].length == len(numbers)
    end = "the frames around a gap become neighbours"
    assert log == ([f"clip a: {folder} {message} {end}"] if message else [])


@pytest.mark.parametrize("names", [("a1", "a2", "b4", "b5"), ("001_640x480", "002_640x480", "005_641x480"), ("a", "c")])
def test_names_without_one_running_number_have_no_gaps(tmp_path, write_clip, log, names):
    for name in names:
        write_clip(tmp_path / "in/a", 1, 8, 8, name=f"{name}.png")
    collect_clips([tmp_path / "in"])
    assert log == []


@pytest.mark.parametrize("name", ["clip one", "clip_one"])
def test_val_takes_the_name_given_or_made(tmp_path, write_clip, log, name):
    for clip in ("clip one", "b"):
        write_clip(tmp_path / "in" / clip, 1, 8, 8)
    prepare_clips([tmp_path / "in"], tmp_path / "out", val=[name], workers=1)
    assert list(open_frames(tmp_path / "out/val/GT").clips) == ["clip_one"]
    assert [line for line in log if "named" in line] == [
        "clip 'clip one' is named clip_one, which BasicSR's lists can hold"
    ]
    assert log[-1] == f"{tmp_path}/out/val/GT: 1 clip, 1 frame"


def test_names_become_what_basicsr_can_hold(tmp_path, write_clip):
    write_clip(tmp_path / "été à la mer", 1, 8, 8)
    write_clip(tmp_path / "more/clip one", 1, 8, 8)
    clips = collect_clips([tmp_path / "été à la mer", tmp_path / "more"])
    assert [clip.name for clip in clips] == ["_t____la_mer", "clip_one"]
    prepare_clips([tmp_path / "été à la mer", tmp_path / "more"], tmp_path / "out", workers=1)
    assert list(open_frames(tmp_path / "out/train_GT.lmdb").clips) == ["_t____la_mer", "clip_one"]


def test_many_file_types(tmp_path, write_clip, coded_frame):
    for suffix in ("png", "jpg", "bmp", "tif"):
        write_clip(tmp_path / "in" / suffix, 11, 16, 16, name="{}." + suffix)
    prepare_clips([tmp_path / "in"], tmp_path / "out", workers=2)
    source = open_frames(tmp_path / "out/train_GT.lmdb")
    for suffix in ("png", "jpg", "bmp", "tif"):
        frames = source.read(suffix, range(11))
        # Frame 10 follows frame 9.
        assert np.abs(frames[10].astype(int) - coded_frame(10, 16, 16)[..., ::-1]).max() <= (
            20 if suffix == "jpg" else 0
        )


def test_video(tmp_path, noise_frame):
    frames = [noise_frame(i, 34, 50) for i in range(7)]
    write_video(tmp_path / "film.mkv", frames)
    prepare_clips([tmp_path / "film.mkv"], tmp_path / "out", workers=2)
    made = open_frames(tmp_path / "out/train_GT.lmdb").read("film", range(7))
    for frame, original in zip(made, frames, strict=True):
        np.testing.assert_array_equal(frame[..., ::-1], original[:32, :48])
    assert (tmp_path / "out/meta_info_out_train_GT.txt").read_text() == "film 7 (32,48,3)\n"


def test_folder_of_videos_and_frames(tmp_path, noise_frame, write_clip):
    write_clip(tmp_path / "in/stills", 2, 16, 16)
    write_video(tmp_path / "in/one.mkv", [noise_frame(0, 16, 16)] * 2)
    write_video(tmp_path / "in/sub.mkv", [noise_frame(0, 16, 16)] * 2)
    assert [clip.name for clip in collect_clips([tmp_path / "in"])] == ["one", "stills", "sub"]


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (-90, -1), (180, 2)])
def test_rotated_video_is_turned_as_players_do(tmp_path, noise_frame, rotation, turns):
    import av

    frames = [noise_frame(i, 16, 24) for i in range(3)]
    path = tmp_path / "turned.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=24)
        stream.width, stream.height, stream.pix_fmt = 24, 16, "rgb24"
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write a rotation")
        stream.set_display_rotation(rotation)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24").reformat(format="rgb24")))
        container.mux(stream.encode())
    prepare_clips([path], tmp_path / "out", workers=1)
    made = open_frames(tmp_path / "out/train_GT.lmdb").read("turned", [2])[0]
    np.testing.assert_array_equal(made[..., ::-1], np.rot90(frames[2], turns))


def test_restart_in_the_middle_of_a_video(tmp_path, noise_frame, monkeypatch):
    from vsrm_arch.data.prepare import targets

    write_video(tmp_path / "film.mkv", [noise_frame(i, 16, 16) for i in range(30)])
    put, count = targets.LmdbTarget.put, iter(range(1000))
    with monkeypatch.context() as patch:

        def stopping(target, key, png):
            if next(count) == 25:
                raise KeyboardInterrupt
            put(target, key, png)

        patch.setattr(targets.LmdbTarget, "put", stopping)
        with pytest.raises(KeyboardInterrupt):
            prepare_clips([tmp_path / "film.mkv"], tmp_path / "out", workers=1)
    prepare_clips([tmp_path / "film.mkv"], tmp_path / "out", workers=1)
    made = open_frames(tmp_path / "out/train_GT.lmdb").read("film", range(30))
    assert all((frame[..., ::-1] == noise_frame(i, 16, 16)).all() for i, frame in enumerate(made))


def test_a_finished_set_that_lost_frames_keeps_its_list(tmp_path, write_clip):
    write_clip(tmp_path / "in/a", 3, 16, 16)
    prepare_clips([tmp_path / "in"], tmp_path / "out", test=True, workers=1)
    before = (tmp_path / "out/meta_info_out_test_GT.txt").read_text()
    (tmp_path / "out/GT/a/00000001.png").unlink()
    with fails("out/GT holds 2 frames, but 3 were written; use --force to make it again"):
        prepare_clips([tmp_path / "in"], tmp_path / "out", test=True, workers=1)
    assert (tmp_path / "out/meta_info_out_test_GT.txt").read_text() == before == "a 3 (16,16,3)\n"


def test_a_video_replaced_under_its_name(tmp_path, noise_frame):
    write_video(tmp_path / "film.mkv", [noise_frame(i, 16, 16) for i in range(2)])
    prepare_clips([tmp_path / "film.mkv"], tmp_path / "out", workers=1)
    write_video(tmp_path / "film.mkv", [noise_frame(i + 5, 16, 16) for i in range(2)])
    with fails("train_GT.lmdb is there already and was not made from the same data"):
        prepare_clips([tmp_path / "film.mkv"], tmp_path / "out", workers=1)


def fails(match):
    return pytest.raises(UserError, match=f"^[^\n]*{match}[^\n]*$")


def test_bad_inputs(tmp_path, write_clip):
    write_clip(tmp_path / "x/clip", 2, 16, 16)
    write_clip(tmp_path / "y/clip", 2, 16, 16)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("x")
    with fails("nowhere does not exist"):
        collect_clips([tmp_path / "nowhere"])
    with fails("empty holds neither frames .* nor videos; name a folder of clips"):
        collect_clips([tmp_path / "empty"])
    with fails(r"text\.txt is no video file \(\.mp4"):
        collect_clips([tmp_path / "text.txt"])
    with fails("y/clip and .*x/clip would both be clip clip; rename one"):
        collect_clips([tmp_path / "x", tmp_path / "y"])
    with fails("--val names other, which is no clip; there are clip"):
        prepare_clips([tmp_path / "x"], tmp_path / "out", val=["other"])
    write_clip(tmp_path / "x/clip", 1, 16, 16, name="{:08d}.jpg")
    with fails(r"x/clip/00000000\.jpg and .*x/clip/00000000\.png are the same frame; remove one of them"):
        collect_clips([tmp_path / "x"])


def test_too_small(tmp_path, write_clip):
    write_clip(tmp_path / "x/clip", 2, 3, 16)
    with fails("clip clip has 16x3 pixels, too few for scale 4"):
        prepare_clips([tmp_path / "x"], tmp_path / "out")


def test_broken_videos(tmp_path, noise_frame):
    (tmp_path / "junk.mp4").write_bytes(b"no video" * 500)
    with fails(r"junk\.mp4 is no readable video .*fetch it again or leave it out"):
        collect_clips([tmp_path / "junk.mp4"])
    (tmp_path / "empty.mp4").write_bytes(b"")
    with fails(r"empty\.mp4 is no readable video"):
        collect_clips([tmp_path / "empty.mp4"])


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("film.mp4", "mpeg4", {"movflags": "faststart"}),
        ("film.mov", "png", {"movflags": "faststart"}),
        ("film.mkv", "ffv1", {}),
        ("film.avi", "mpeg4", {}),
    ],
)
def test_a_video_cut_short(tmp_path, noise_frame, name, codec, options):
    path = tmp_path / name
    write_video(path, [noise_frame(i, 64, 64) for i in range(30)], codec=codec, **options)
    whole = path.read_bytes()
    assert collect_clips([path])[0].length == 30
    path.write_bytes(whole[: len(whole) // 2])
    with fails(rf"{name} is cut short: it holds \d+ of about (29|30|31) frames; fetch it again or leave it out"):
        prepare_clips([path], tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_sound_that_outlasts_the_video(tmp_path, noise_frame, suffix):
    import av

    path = tmp_path / f"film.{suffix}"
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("mpeg4", rate=24), container.add_stream("aac", rate=8000)
        video.width = video.height = 32
        for i in range(5):
            container.mux(video.encode(av.VideoFrame.from_ndarray(noise_frame(i, 32, 32), format="bgr24")))
        container.mux(video.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        silence.rate = 8000
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
    assert collect_clips([path])[0].length == 5


def test_frames_that_a_stream_copy_hides_are_not_missed(tmp_path, noise_frame):
    import av

    write_video(tmp_path / "whole.mp4", [noise_frame(i, 32, 32) for i in range(24)], codec="mpeg4")
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(tmp_path / "whole.mp4")) as whole, av.open(str(tmp_path / "c.mp4"), "w", options=options) as cut:
        stream = whole.streams.video[0]
        copy = cut.add_stream_from_template(stream)
        for packet in whole.demux(stream):
            if packet.dts is not None:
                shift = 12 * packet.duration
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                cut.mux(packet)
    (clip,) = collect_clips([tmp_path / "c.mp4"])
    assert sum(1 for _ in clip.frames()) == 12
    with av.open(str(tmp_path / "c.mp4")) as cut:
        assert cut.streams.video[0].frames == 24


def test_sound_only(tmp_path):
    import av

    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with fails(r"sound\.mkv holds no video; leave it out"):
        collect_clips([tmp_path / "sound.mkv"])


def test_video_without_pyav(tmp_path, monkeypatch):
    (tmp_path / "film.mp4").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "av", None)
    with fails(r'reading .*film\.mp4 needs PyAV: pip install "vsrm-arch\[video\]"'):
        collect_clips([tmp_path / "film.mp4"])


@pytest.mark.data
def test_real_clips(vsrm_data, tmp_path):
    names = ("davis_dog", "sam2_cups")
    prepare_clips([vsrm_data / "train" / name for name in names], tmp_path, workers=2)
    gt, lq = open_frames(tmp_path / "train_GT.lmdb"), open_frames(tmp_path / "train_BIx4.lmdb")
    assert {name: len(frames) for name, frames in gt.clips.items()} == dict.fromkeys(names, 16)
    original = cv2.imread(str(vsrm_data / "train/davis_dog/00000005.jpg"))
    np.testing.assert_array_equal(gt.read("davis_dog", [5])[0][..., ::-1], original)
    assert all(lq.sizes[name] == (gt.sizes[name][0] // 4, gt.sizes[name][1] // 4) for name in names)


@pytest.mark.data
def test_real_videos(vsrm_data, tmp_path):
    sizes = {clip.name: clip.size for clip in collect_clips([vsrm_data / "videos"])}
    assert sizes["dogbed_1280x720_rot270_audio"] == (1280, 720)
    assert sizes["skiing_718x718_audio"] == (718, 718)
    prepare_clips([vsrm_data / "videos/stream_480x360_audio.mp4"], tmp_path, test=True, workers=2)
    made = (tmp_path / f"meta_info_{tmp_path.name}_test_GT.txt").read_text()
    assert made == "stream_480x360_audio 90 (360,480,3)\n"
