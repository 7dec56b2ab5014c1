from fractions import Fraction

import pytest

from vsrm_arch.errors import UserError
from vsrm_arch.video import Colour, Encoding, FrameFormat, VideoTarget, copied_streams, muxing

av = pytest.importorskip("av")


def finished(path, grey, source, copied):
    target = VideoTarget(
        path,
        {},
        Encoding.choose(path, Colour(6)),
        FrameFormat((16, 24), Fraction(24), Fraction(1, 24), Colour(6)),
        source=source,
        copied=tuple(copied),
    )
    for i in range(13):
        target.write(grey(i), Fraction(i, 24))
    return target.finish()


def packets(path, kind):
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return [
            (float(packet.pts * packet.time_base), bytes(packet)) for packet in container.demux(stream) if packet.size
        ]


def test_all_of_a_film_is_copied(tmp_path, film, grey, shown):
    path = tmp_path / "a.mkv"
    kept = copied_streams(film, path)
    assert kept == [1, 2]
    finished(path, grey, film, kept)
    assert [number for _, number in shown(path)] == list(range(13))
    for kind in ("audio", "subtitle"):
        assert packets(path, kind) == packets(film, kind)
        assert len(packets(path, kind)) >= 1
    with av.open(str(path)) as container:
        assert container.metadata["title"] == "A film"
        (chapter,) = container.chapters()
        assert chapter["metadata"] == {"title": "One"}
        assert (chapter["start"] * chapter["time_base"], chapter["end"] * chapter["time_base"]) == (0, Fraction(1, 4))
        _, sound, words = container.streams
        assert (sound.language, words.language) == ("fra", "deu")
        assert words.disposition & type(words.disposition).forced


def test_what_the_container_cannot_hold_is_refused(tmp_path, film):
    message = (
        r"^\S*a\.mp4 cannot hold stream 2 of \S*source\.mkv, subtitle \(s\w+\): name an output that ends in \.mkv, "
        r"which may, or leave it out with --drop subtitle, or convert it first$"
    )
    with pytest.raises(UserError, match=message):
        copied_streams(film, tmp_path / "a.mp4")
    assert copied_streams(film, tmp_path / "a.mp4", drop=["subtitle"]) == [1]
    with pytest.raises(
        UserError, match=r"a\.webm cannot hold stream 1 of .*, audio \(aac\): .* --drop audio, or convert it first$"
    ):
        copied_streams(film, tmp_path / "a.webm")


def test_what_the_container_refuses_is_no_fault_of_the_source(tmp_path, film, grey, monkeypatch):
    def confused(*given):
        for i, (_, packet) in enumerate(original(*given)):
            packet.pts = packet.dts = 10000 - 1000 * i  # times that do not rise
            yield 0, packet

    original = muxing._other_packets
    monkeypatch.setattr(muxing, "_other_packets", confused)
    with pytest.raises(
        UserError, match=r"^\S*a\.mkv cannot be written by libx264 \([^\n]*; choose another --codec [^\n]*$"
    ):
        finished(tmp_path / "a.mkv", grey, film, [1])
    assert not (tmp_path / "a.mkv").exists()


def test_sound_alone_in_mp4(tmp_path, film, grey):
    path = finished(tmp_path / "a.mp4", grey, film, [1])
    assert [data for _, data in packets(path, "audio")] == [data for _, data in packets(film, "audio")]
    with av.open(str(path)) as container:
        assert container.metadata["title"] == "A film"
        assert container.streams[1].language == "fra"


def test_the_index_lies_in_front(tmp_path, grey):
    content = finished(tmp_path / "a.mp4", grey, None, ()).read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_streams_of_a_file_that_starts_late_keep_step(tmp_path, grey, write_video):
    source = write_video(
        tmp_path / "a.ts",
        [grey(i, 32, 48) for i in range(13)],
        range(48, 61),
        "mpeg2video",
        "yuv420p",
        time_base=Fraction(1, 24),
        sound=2,
    )
    before = [time for time, _ in packets(source, "audio")]
    with av.open(str(source)) as container:
        start = container.start_time / 1e6
    assert start > 1
    path = finished(tmp_path / "a.mkv", grey, source, copied_streams(source, tmp_path / "a.mkv"))
    after = [time for time, _ in packets(path, "audio")]
    assert after == pytest.approx([time - start for time in before], abs=2e-3)
