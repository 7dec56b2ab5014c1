from fractions import Fraction

import numpy as np
import pytest

from vsrm_arch.errors import UserError
from vsrm_arch.video import VideoFile

av = pytest.importorskip("av")


def fails(match):
    return pytest.raises(UserError, match=f"^[^\n]*{match}[^\n]*$")


def noise(index, height=16, width=24, dtype=np.uint8):
    return np.random.default_rng(index).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype=dtype)


def test_a_plain_film(tmp_path, write_video):
    frames = [noise(i) for i in range(5)]
    video = VideoFile.look_at(write_video(tmp_path / "a.mkv", frames))
    assert (video.size, video.turns, video.length, video.rate) == ((16, 24), 0, 5, 24)
    assert (video.start, video.pixel_aspect, video.interlaced, video.streams) == (0, 1, False, {})
    for i, ((image, time), frame) in enumerate(zip(video.frames(), frames, strict=True)):
        np.testing.assert_array_equal(image, frame)
        assert abs(time - Fraction(i, 24)) <= Fraction(1, 1000)


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (-90, 3), (180, 2)])
def test_frames_are_turned_upright_and_pixels_with_them(tmp_path, write_video, rotation, turns):
    path = tmp_path / "a.mov"
    write_video(path, [noise(0)] * 2, codec="png", pix_fmt="rgb24", rotation=rotation, aspect=Fraction(4, 3))
    video = VideoFile.look_at(path)
    assert video.turns == turns
    assert video.size == ((24, 16) if turns % 2 else (16, 24))
    assert video.pixel_aspect == (Fraction(3, 4) if turns % 2 else Fraction(4, 3))
    np.testing.assert_array_equal(next(video.frames())[0], np.rot90(noise(0), turns))


def test_times_of_a_variable_rate_are_kept(tmp_path, write_video, grey):
    times = [0, 3, 4, 10, 11, 30]
    path = tmp_path / "a.mp4"
    write_video(path, [grey(i) for i in range(6)], times, "libx264", "yuv420p", time_base=Fraction(1, 90))
    read = [time for _, time in VideoFile.look_at(path).frames()]
    assert read == [Fraction(time, 90) for time in times]


def test_times_count_from_the_start_of_the_file(tmp_path, write_video):
    path = tmp_path / "a.ts"
    frames, times = [noise(i, 32, 48) for i in range(8)], range(48, 56)
    write_video(path, frames, times, "mpeg2video", "yuv420p", time_base=Fraction(1, 24))
    video = VideoFile.look_at(path)
    assert video.start > 1
    times = [time for _, time in video.frames()]
    assert times[0] == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(np.diff(np.array(times, float)), 1 / 24, atol=1e-4)


def test_ten_bits_are_uint16(tmp_path, write_video):
    path = write_video(tmp_path / "a.mkv", [noise(0, dtype=np.uint16)] * 2, codec="ffv1", pix_fmt="yuv420p10le")
    video = VideoFile.look_at(path)
    assert video.colour.depth == 10
    image, _ = next(video.frames())
    assert image.dtype == np.uint16
    assert image.max() > 2**12


@pytest.mark.parametrize("content", [b"", b"no video" * 500])
def test_a_file_that_is_no_video(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with fails(r"a\.mp4 is no readable video \(.*\); fetch it again or leave it out"):
        VideoFile.look_at(tmp_path / "a.mp4")


def test_a_file_that_is_missing(tmp_path):
    with fails(r"nowhere\.mp4 is no readable video \(No such file or directory\)"):
        VideoFile.look_at(tmp_path / "nowhere.mp4")


def test_a_film_cut_short(tmp_path, write_video):
    path = write_video(tmp_path / "a.mkv", [noise(i) for i in range(12)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with fails(r"a\.mkv is cut short: it holds \d of about 1[123] frames; fetch it again or leave it out"):
        VideoFile.look_at(path)


def test_sound_only(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with fails(r"a\.mkv holds no video; leave it out"):
        VideoFile.look_at(tmp_path / "a.mkv")


def test_a_change_of_size(tmp_path, write_video):
    parts = []
    for i, size in enumerate(((16, 24), (32, 48))):
        path = write_video(tmp_path / f"{i}.ts", [noise(j, *size) for j in range(3)], None, "mpeg2video", "yuv420p")
        parts.append(path.read_bytes())
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    video = VideoFile.look_at(tmp_path / "a.ts")
    with fails(
        r"a\.ts: frame [23] is 48x32, those before it 24x16; cut the file there, and enlarge the parts one by one"
    ):
        list(video.frames())


def test_a_poster_is_not_the_film(tmp_path, write_video, grey):
    plain = write_video(tmp_path / "plain.mp4", [grey(i) for i in range(3)], None, "libx264", "yuv420p")
    png = write_video(tmp_path / "poster.mov", [grey(9, 32, 32)], None, "png", "rgb24")
    path = tmp_path / "a.mp4"
    with av.open(str(plain)) as film, av.open(str(png)) as cover, av.open(str(path), "w") as container:
        poster = container.add_stream_from_template(cover.streams[0])
        poster.disposition = type(poster.disposition).attached_pic
        video = container.add_stream_from_template(film.streams[0])
        for source, stream in ((cover, poster), (film, video)):
            for packet in source.demux():
                if packet.size:
                    packet.stream = stream
                    container.mux(packet)
    found = VideoFile.look_at(path)
    assert (found.size, found.length, found.streams) == ((16, 24), 3, {1: "video (png)"})


def test_a_clock_that_jumps_back(tmp_path, grey, write_video):
    """Two files joined end to end, as MPEG-TS allows."""
    part = write_video(
        tmp_path / "a.ts", [grey(i % 10) for i in range(50)], codec="mpeg2video", pix_fmt="yuv420p", rate=25
    )
    (tmp_path / "b.ts").write_bytes(part.read_bytes() * 2)
    assert VideoFile.look_at(part).length == 50
    with pytest.raises(UserError, match=r"^\S*b\.ts: its clock jumps back after \d\.\d s, [^\n]*$"):
        VideoFile.look_at(tmp_path / "b.ts")


@pytest.mark.parametrize("mirrored", [True, False])
def test_a_mirrored_film(tmp_path, grey, write_video, mirrored):
    path = write_video(tmp_path / "a.mp4", [grey(1)], codec="libx264", pix_fmt="yuv420p", rotation=180)
    if not mirrored:
        assert VideoFile.look_at(path).turns == 2
        return
    data = path.read_bytes()
    # Both axes are turned round; a mirror turns one.
    minus, plus = (-(1 << 16)).to_bytes(4, "big", signed=True), (1 << 16).to_bytes(4, "big")
    place = data.index(minus, data.index(b"tkhd"))
    path.write_bytes(data[:place] + plus + data[place + 4 :])
    with pytest.raises(UserError, match=r"^\S*a\.mp4 asks to be shown mirrored, [^\n]*$"):
        VideoFile.look_at(path)


def test_transparency_is_known(tmp_path, grey, write_video):
    assert VideoFile.look_at(write_video(tmp_path / "a.mkv", [grey(1)], pix_fmt="bgra")).transparent
    assert not VideoFile.look_at(write_video(tmp_path / "b.mkv", [grey(1)])).transparent
