import io
import re
from fractions import Fraction
from pathlib import Path

import pytest

from vsrm_arch.errors import UserError
from vsrm_arch.video import Colour, Encoding, FrameFormat

av = pytest.importorskip("av")
MP4, DEEP = Path("a.mp4"), Colour(depth=10)


def test_what_is_not_given():
    assert Encoding.choose(MP4, Colour()) == Encoding("libx264", "yuv420p", {"crf": "17"})
    assert Encoding.choose(Path("a.webm"), Colour()) == Encoding(
        "libvpx-vp9", "yuv420p", {"b": "0", "row-mt": "1", "crf": "22"}
    )


def test_what_is_given():
    encoding = Encoding.choose(MP4, Colour(), "libx265", 30, "yuv444p", {"preset": "fast"})
    assert encoding == Encoding("libx265", "yuv444p", {"x265-params": "log-level=error", "crf": "30", "preset": "fast"})


def test_depth_is_kept_where_the_encoder_can():
    assert Encoding.choose(MP4, DEEP).pix_fmt == "yuv420p10le"
    assert Encoding.choose(MP4, DEEP).depth == 10
    assert Encoding.choose(MP4, DEEP, "mpeg4").depth == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codec": "nonsense"}, "--codec nonsense: this PyAV has no such video encoder; it has libx264"),
        ({"codec": "aac"}, "--codec aac: this PyAV has no such video encoder; it has libx264"),
        ({"pix_fmt": "pal8"}, "--pix-fmt pal8: libx264 does not take it; it takes yuv420p, "),
        (
            {"codec": "ffv1", "quality": 3},
            "--quality 3: ffv1 has no such scale; give its own options by --encoder-option",
        ),
    ],
)
def test_faults_are_told(arguments, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}[^\n]*$"):
        Encoding.choose(MP4, Colour(), **arguments)


def opened(encoding, container_format, size=(16, 24)):
    with av.open(io.BytesIO(), "w", format=container_format) as container:
        return encoding.open(container, FrameFormat(size, Fraction(24), Fraction(1, 24), Colour()))


def test_frames_that_the_encoder_does_not_take():
    with pytest.raises(UserError, match=r"^libx264 takes no video of 25x17, yuv420p, with crf=17 \([^\n]*--frames\)$"):
        opened(Encoding.choose(MP4, Colour()), "mp4", (17, 25))


def test_a_container_that_cannot_hold_it():
    with pytest.raises(UserError, match=r"^[^\n]*; choose another --codec or another kind of output$"):
        opened(Encoding.choose(MP4, Colour()), "webm")


def test_an_option_that_the_encoder_has_not():
    encoding = Encoding.choose(MP4, Colour(), options={"presett": "slow"})
    with pytest.raises(UserError, match=r"^--encoder-option presett: libx264 has no such option; [^\n]*$"):
        opened(encoding, "mp4")


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1", "prores_ks", "mpeg4"])
@pytest.mark.parametrize("depth", [8, 10])
def test_encoders_take_what_is_chosen_for_them(codec, depth):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    stream = opened(Encoding.choose(MP4, Colour(depth=depth), codec), "matroska", (64, 64))
    assert stream.codec_context.is_open
