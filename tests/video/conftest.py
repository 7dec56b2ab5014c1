"""Tiny videos to test on."""

from fractions import Fraction

import numpy as np
import pytest


def _grey(index, height=16, width=24):
    """A frame that tells its number also after lossy compression."""
    return np.full((height, width, 3), 20 + 12 * index, np.uint8)


def _write_video(path, frames, times=None, codec="ffv1", pix_fmt="bgr0", rate=24, time_base=None, **settings):
    """Writes RGB frames; ``times`` are in units of ``time_base``; settings: rotation, aspect, sound: its start in s."""
    import av

    with av.open(str(path), "w", options=settings.get("options", {})) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if time_base:
            stream.codec_context.time_base = stream.time_base = time_base
        if "aspect" in settings:
            stream.codec_context.sample_aspect_ratio = settings["aspect"]
        if "rotation" in settings:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("this PyAV cannot write a rotation")
            stream.set_display_rotation(settings["rotation"])
        sound = container.add_stream("aac", rate=8000) if "sound" in settings else None
        if sound:
            sound.layout = "mono"
            sound.metadata["language"] = "fra"
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb48le" if image.dtype == np.uint16 else "rgb24")
            if times:
                frame.pts, frame.time_base = times[i], time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            silence.rate, silence.pts, silence.time_base = 8000, 8000 * settings["sound"], Fraction(1, 8000)
            container.mux(sound.encode(silence))
            container.mux(sound.encode())
    return path


def _shown(path):
    """Times and numbers of a film of :func:`_grey` frames."""
    import av

    with av.open(str(path)) as container:
        return [
            (frame.pts * frame.time_base, round((float(frame.to_ndarray(format="rgb24").mean()) - 20) / 12))
            for frame in container.decode(container.streams.video[0])
        ]


@pytest.fixture
def grey():
    return _grey


@pytest.fixture
def write_video():
    return _write_video


@pytest.fixture
def shown():
    return _shown


@pytest.fixture
def film(tmp_path, grey, write_video):
    """A source with all that is copied: sound, subtitles, chapters, metadata."""
    import av

    plain = write_video(tmp_path / "plain.mkv", [grey(i) for i in range(13)], codec="mpeg4", pix_fmt="yuv420p", sound=0)
    (tmp_path / "words.srt").write_text("1\n00:00:00,100 --> 00:00:00,400\nHello\n\n")
    path = tmp_path / "source.mkv"
    with av.open(str(plain)) as old, av.open(str(tmp_path / "words.srt")) as words, av.open(str(path), "w") as new:
        new.metadata["title"] = "A film"
        new.set_chapters(
            [{"id": 1, "start": 0, "end": 250, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}]
        )
        video, sound = (new.add_stream_from_template(stream) for stream in old.streams)
        subtitles = new.add_stream_from_template(words.streams[0])
        sound.metadata["language"] = "fra"
        subtitles.metadata["language"] = "deu"
        subtitles.disposition = type(subtitles.disposition).forced
        for container, streams in ((words, [subtitles]), (old, [video, sound])):
            for packet in container.demux():
                if packet.dts is not None and packet.size:
                    packet.stream = streams[packet.stream_index]
                    new.mux(packet)
    return path
