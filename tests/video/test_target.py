import errno
import itertools
from fractions import Fraction

import numpy as np
import pytest

from vsrm_arch.errors import UserError
from vsrm_arch.video import Colour, Encoding, FrameFormat, VideoTarget, check_encoding, copied_streams, target

av = pytest.importorskip("av")
UNIT = Fraction(1, 24000)
# A variable rate: steps of 1 to 5 units of 1/24 s.
TIMES = [Fraction(t, 24) for t in (0, 1, 2, 7, 8, 11, 12, 13, 18, 19, 20, 24, 25)]


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch):
    monkeypatch.setattr(target, "_SEGMENT_FRAMES", 5)


def new(path, recipe=None, **settings):
    encoding = Encoding.choose(path, Colour(6), options={"bf": "3"} if path.suffix != ".webm" else {})
    return VideoTarget(path, recipe or {}, encoding, FrameFormat((16, 24), Fraction(12), UNIT, Colour(6)), **settings)


def write(film, grey, start, stop):
    for i in range(start, stop):
        film.write(grey(i), TIMES[i])


def numbered(times, count):
    return list(zip(times[:count], range(count), strict=True))


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(2)])
def test_times_that_count_in_frames(tmp_path, grey, shown, rate):
    """MP4 counts in finer units than a film of pictures does."""
    path = tmp_path / "a.mp4"
    film = VideoTarget(path, {}, Encoding.choose(path, Colour(6)), FrameFormat((16, 24), rate, 1 / rate, Colour(6)))
    times = [i / rate for i in range(13)]
    for i, time in enumerate(times):
        film.write(grey(i), time)
    film.finish()
    assert shown(path) == numbered(times, 13)


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_each_frame_once_at_its_time_across_segments(tmp_path, grey, shown, suffix):
    film = new(tmp_path / f"a.{suffix}")
    write(film, grey, 0, 13)
    assert film.finish() == tmp_path / f"a.{suffix}"
    assert shown(film.path) == numbered(TIMES, 13)
    assert list(tmp_path.iterdir()) == [film.path]


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_matroska_rounds_times_to_milliseconds(tmp_path, grey, shown, suffix):
    film = new(tmp_path / f"a.{suffix}")
    write(film, grey, 0, 13)
    found = shown(film.finish())
    assert [number for _, number in found] == list(range(13))
    np.testing.assert_allclose([float(time) for time, _ in found], [float(time) for time in TIMES], atol=0.6e-3)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("b_frames", ["0", "3"])
def test_the_last_frame_may_be_a_still(tmp_path, grey, suffix, b_frames):
    """It lasts until the end of the source's, and what the container says of the rate counts it in."""
    path, rate = tmp_path / f"a.{suffix}", Fraction(13, 4)
    encoding = Encoding.choose(path, Colour(6), options={"bf": b_frames})
    film = VideoTarget(path, {}, encoding, FrameFormat((16, 24), rate, UNIT, Colour(6)), end=Fraction(4))
    write(film, grey, 0, 13)
    with av.open(str(film.finish())) as container:
        (stream,) = container.streams
        assert container.duration == pytest.approx(4e6, abs=1000)
        assert float(stream.average_rate) == pytest.approx(float(rate), rel=1e-3)
        if suffix == "mp4":
            assert stream.duration * stream.time_base == 4


def test_an_end_that_is_none_changes_nothing(tmp_path, grey):
    film = new(tmp_path / "a.mp4", end=TIMES[2])
    write(film, grey, 0, 3)
    with av.open(str(film.finish())) as container:
        assert container.duration == pytest.approx(float(TIMES[2] + Fraction(1, 12)) * 1e6, abs=1000)


@pytest.mark.parametrize(("codec", "suffix"), [("prores_ks", "mov"), ("libvpx-vp9", "webm"), ("ffv1", "mkv")])
def test_other_encoders(tmp_path, grey, shown, codec, suffix):
    path = tmp_path / f"a.{suffix}"
    encoding = Encoding.choose(path, Colour(6, depth=10), codec)
    assert encoding.depth == 10 if codec == "prores_ks" else True
    film = VideoTarget(path, {}, encoding, FrameFormat((16, 24), Fraction(24), Fraction(1, 1000), Colour(6)))
    times = [Fraction(i * 40, 1000) for i in range(13)]
    for i, time in enumerate(times):
        film.write(grey(i), time)
    assert shown(film.finish()) == numbered(times, 13)


def test_there_are_b_frames_and_several_segments(tmp_path, grey):
    film = new(tmp_path / "a.mp4")
    write(film, grey, 0, 13)
    film.finish()
    with av.open(str(film.path)) as container:
        packets = [packet for packet in container.demux() if packet.size]
    assert any(packet.pts != packet.dts for packet in packets)
    assert [packet.is_keyframe for packet in packets].count(True) == 3
    assert all(a.dts < b.dts for a, b in itertools.pairwise(packets))


@pytest.mark.parametrize("stop", [3, 5, 8])
def test_an_interrupted_film_can_be_played_and_goes_on(tmp_path, grey, shown, stop):
    path = tmp_path / "a.mp4"
    film = new(path)
    write(film, grey, 0, stop)
    assert film.interrupt() == tmp_path / "a.partial.mp4"
    assert shown(tmp_path / "a.partial.mp4") == numbered(TIMES, stop)
    assert not path.exists()
    film = new(path, resume=True)
    assert film.num_done == stop
    write(film, grey, stop, 13)
    film.finish()
    assert shown(path) == numbered(TIMES, 13)
    assert list(tmp_path.iterdir()) == [path]


def test_killed_in_a_segment(tmp_path, grey, shown):
    film = new(tmp_path / "a.mp4")
    write(film, grey, 0, 8)
    film = new(tmp_path / "a.mp4", resume=True)
    assert film.num_done == 5
    write(film, grey, 5, 13)
    assert shown(film.finish()) == numbered(TIMES, 13)


def test_interrupted_before_the_first_frame(tmp_path):
    assert new(tmp_path / "a.mp4").interrupt() is None
    assert list(tmp_path.iterdir()) == []


def test_another_recipe_is_named(tmp_path, grey):
    film = new(tmp_path / "a.mp4", {"network": "x"})
    write(film, grey, 0, 6)
    film.interrupt()
    message = r"^--resume: what .*a\.mp4\.partial holds was made with network x, not y; give the same, or start again"
    with pytest.raises(UserError, match=message):
        new(tmp_path / "a.mp4", {"network": "y"}, resume=True)


def test_times_that_do_not_rise_are_moved(tmp_path, grey, shown):
    film = new(tmp_path / "a.mp4")
    film.write(grey(0), Fraction(0))
    film.write(grey(1), Fraction(0))
    assert shown(film.finish()) == [(0, 0), (UNIT, 1)]


def test_times_that_do_not_rise_between_segments(tmp_path, grey, shown):
    film = new(tmp_path / "a.mp4")
    for i in range(6):
        film.write(grey(i), TIMES[min(i, 4)])
    found = shown(film.finish())
    assert found == [*numbered(TIMES, 5), (TIMES[4] + UNIT, 5)]


def test_a_full_disk_while_frames_are_written(tmp_path, grey, shown, monkeypatch):
    film = new(tmp_path / "a.mp4")
    write(film, grey, 0, 6)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(target, "from_rgb", full)
        with pytest.raises(
            UserError,
            match=r"^[^\n]*a\.mp4: the disk is full; make room$",
        ):
            write(film, grey, 6, 7)
    film = new(tmp_path / "a.mp4", resume=True)
    write(film, grey, 5, 13)
    assert shown(film.finish()) == numbered(TIMES, 13)


def test_an_earlier_film_survives_a_finish_that_fails(tmp_path, grey, shown, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"good")
    film = new(path)
    write(film, grey, 0, 6)

    def full(_, file, *__):
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(target, "mux", full)
        with pytest.raises(UserError, match=r"the disk is full; make room$"):
            film.finish()
    assert path.read_bytes() == b"good"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.mp4", "a.mp4.partial"]
    assert shown(new(path, resume=True).finish()) == numbered(TIMES, 6)


def test_a_fault_of_the_container_is_named(tmp_path, grey, shown, monkeypatch):
    film = new(tmp_path / "a.mp4")
    write(film, grey, 0, 6)

    def broken(*_):
        raise av.error.InvalidDataError(1, "Invalid data found when processing input")

    with monkeypatch.context() as patch:
        patch.setattr(target, "mux", broken)
        with pytest.raises(
            UserError,
            match=r"^[^\n]*a\.mp4 cannot be written by libx264 \(Invalid data[^\n]*; choose another --codec [^\n]*$",
        ):
            film.finish()
    assert shown(new(film.path, resume=True).finish()) == numbered(TIMES, 6)


def test_what_the_encoder_refuses_is_known_at_once(tmp_path):
    encoding = Encoding.choose(tmp_path / "a.mp4", Colour())
    with pytest.raises(UserError, match=r"^libx264 takes no video of 25x17"):
        check_encoding(tmp_path / "a.mp4", encoding, FrameFormat((17, 25), Fraction(24), UNIT, Colour()))


def test_an_interrupted_film_has_its_sound_so_far(tmp_path, film, grey):
    path = tmp_path / "a.mkv"
    made = new(path, source=film, copied=tuple(copied_streams(film, path)))
    write(made, grey, 0, 3)
    with av.open(str(made.interrupt())) as container:
        end = max(float(p.pts * p.time_base) for p in container.demux(container.streams.audio[0]) if p.size)
    # The third frame is shown at 2/24 s, for 1/12 s; a packet of sound lasts 1024/8000 s.
    assert end <= 4 / 24 + 0.128
