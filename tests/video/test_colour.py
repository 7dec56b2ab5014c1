import re
from fractions import Fraction

import numpy as np
import pytest

from vsrm_arch.errors import UserError
from vsrm_arch.video import Colour, to_rgb
from vsrm_arch.video.colour import from_rgb

av = pytest.importorskip("av")

# K_R and K_B of the matrices, by the recommendations.
WEIGHTS = {6: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}
COLOURS = ((255, 255, 255), (0, 0, 0), (200, 40, 90), (10, 180, 220), (128, 128, 128))


def flat(colour, depth):
    image = np.broadcast_to(np.array(colour, np.uint8), (16, 24, 3))
    return np.ascontiguousarray(image) if depth == 8 else image.astype(np.uint16) * 257


def by_formula(rgb, matrix, full, depth):
    red, _, blue = rgb = np.array(rgb) / 255
    k_r, k_b = WEIGHTS[matrix]
    luma = rgb @ [k_r, 1 - k_r - k_b, k_b]
    chroma = np.array([(blue - luma) / (2 - 2 * k_b), (red - luma) / (2 - 2 * k_r)])
    if full:
        return [luma * (2**depth - 1), *(chroma * (2**depth - 1) + 2 ** (depth - 1))]
    return [v * 2 ** (depth - 8) for v in (16 + 219 * luma, *(128 + 224 * chroma))]


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", WEIGHTS)
def test_samples_are_those_of_the_formula_and_come_back(matrix, full, depth):
    colour = Colour(matrix, 2 if full else 1, depth=depth)
    for rgb in COLOURS:
        image = flat(rgb, depth)
        frame = from_rgb(image, colour, "yuv444p" if depth == 8 else "yuv444p10le")
        samples = [np.frombuffer(plane, np.uint8 if depth == 8 else np.uint16)[5] for plane in frame.planes]
        np.testing.assert_allclose(samples, by_formula(rgb, matrix, full, depth), atol=2 if depth == 8 else 3)
        back = to_rgb(frame, colour)
        assert back.dtype == image.dtype
        assert np.abs(back.astype(int) - image).max() <= (3 if depth == 8 else 3 * 64)


def test_what_was_written_is_read_as_the_same_colour():
    colour = Colour(6, 2, 5, 6)
    assert Colour.of(from_rgb(flat(COLOURS[2], 8), colour, "yuv420p"), "a.mp4") == colour


@pytest.mark.parametrize(
    ("size", "matrix"), [((720, 576), 6), ((720, 480), 6), ((1280, 720), 1), ((1280, 536), 1), ((768, 578), 1)]
)
def test_unlabelled_video_is_what_players_take_it_for(size, matrix):
    colour = Colour.of(av.VideoFrame(*size, "yuv420p"), "a.mp4")
    assert (colour.matrix, colour.range) == (matrix, 1)


def test_yuvj_is_full_range():
    colour = Colour.of(av.VideoFrame(24, 16, "yuvj420p"), "a.mp4")
    assert colour.range == 2
    assert colour.text == "BT.601, full range, 8 bit"


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ, HDR10 or Dolby Vision"), (18, "HLG")])
def test_high_dynamic_range_is_refused(transfer, name):
    frame = av.VideoFrame(24, 16, "yuv420p10le")
    frame.color_trc = transfer
    message = f"a.mp4 is high dynamic range ({name}), which the networks do not know; convert it to standard range"
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        Colour.of(frame, "a.mp4")


def test_a_matrix_that_cannot_be_converted_is_refused():
    frame = av.VideoFrame(24, 16, "yuv420p")
    frame.colorspace = 8
    with pytest.raises(UserError, match=r"^a\.mp4 has colours of a kind that cannot be converted \(matrix 8 of H\.273"):
        Colour.of(frame, "a.mp4")


@pytest.mark.parametrize(("pix_fmt", "depth"), [("gray", 8), ("gray10le", 10)])
@pytest.mark.parametrize(("label", "black", "white"), [(1, 16, 235), (2, 0, 255), (0, 0, 255)])
def test_grey_in_either_range(pix_fmt, depth, label, black, white):
    dtype, unit = (np.uint8, 1) if depth == 8 else (np.uint16, 4)
    samples = np.full((16, 24), black * unit, dtype)
    samples[:, 12:] = white * unit + (3 if white == 255 and depth == 10 else 0)
    frame = av.VideoFrame.from_ndarray(samples, format=pix_fmt)
    frame.color_range = label
    image = to_rgb(frame, Colour.of(frame, "a.mkv"))
    most = np.iinfo(image.dtype).max
    np.testing.assert_allclose(image[:, 0], 0, atol=most / 500)
    np.testing.assert_allclose(image[:, -1], most, atol=most / 250)


@pytest.mark.parametrize("pix_fmt", ["rgb24", "bgr0", "gbrp"])
def test_rgb_stays_as_it_is(pix_fmt):
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    frame = from_rgb(image, Colour(), pix_fmt)
    np.testing.assert_array_equal(to_rgb(frame, Colour.of(frame, "a.mkv")), image)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_labels_reach_the_file(tmp_path, suffix):
    from vsrm_arch.video import Encoding, FrameFormat, VideoTarget

    path, colour = tmp_path / f"a.{suffix}", Colour(9, 2, 9, 14)
    encoding = Encoding.choose(path, colour)
    target = VideoTarget(
        path, {}, encoding, FrameFormat((16, 24), Fraction(24), Fraction(1, 24), colour, Fraction(4, 3))
    )
    target.write(flat(COLOURS[2], 8), Fraction(0))
    target.finish()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        frame = next(container.decode(stream))
    assert Colour.of(frame, "a") == colour
    assert np.abs(to_rgb(frame, colour).astype(int) - COLOURS[2]).max() <= 4
