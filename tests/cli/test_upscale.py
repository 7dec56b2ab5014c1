"""``upscale``: the whole command on a CPU, stops and resumption, and its errors."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from vsrm_arch import cli
from vsrm_arch.archs import Bicubic
from vsrm_arch.inference import Upscaler
from vsrm_arch.video import target

av = pytest.importorskip("av", reason="needs PyAV: the extra video")

NETWORK = "BicubicWithWeight"
SLOW = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
import vsrm_arch  # before basicsr
import test_upscale
from vsrm_arch import cli
from vsrm_arch.inference import Upscaler
enlarge = Upscaler._enlarge_window
def slow(*arguments):
    time.sleep(0.4)
    return enlarge(*arguments)
Upscaler._enlarge_window = slow
sys.exit(cli.main(sys.argv[1:]))
"""


class BicubicWithWeight(Bicubic):
    """Files without weights are refused."""

    def __init__(self, scale: int = 4) -> None:
        super().__init__(scale)
        self.weight = torch.nn.Parameter(torch.ones(1))


if NETWORK not in ARCH_REGISTRY:
    ARCH_REGISTRY.register(BicubicWithWeight)


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch, make_video):
    monkeypatch.chdir(tmp_path)
    metadata = {"network": {"type": NETWORK, "scale": 4}, "scale": 4, "iteration": 0}
    torch.save({"params": {"weight": torch.ones(1)}, "metadata": metadata}, "net.pth")
    make_video("a.mp4")
    return tmp_path


def arguments(*given):
    named = [] if "--weights" in given else ["--weights", "net.pth"]
    named += [] if "--device" in given else ["--device", "cpu"]
    # Plans are measured; without them frames come in small windows.
    for flag, value in (("--window", "2"), ("--tile", "0")):
        named += [] if flag in given else [flag, value]
    return ["upscale", *map(str, given), *named]


def upscale(*given):
    return cli.main(arguments(*given))


def frames(path):
    with av.open(str(path)) as film:
        return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]


def sound(path):
    with av.open(str(path)) as film:
        return [
            (float(packet.pts * packet.time_base), bytes(packet))
            for packet in film.demux(film.streams.audio[0])
            if packet.size
        ]


def same(path, other):
    pairs = list(zip(frames(path), frames(other), strict=True))
    return all(t == s and (a == b).all() for (t, a), (s, b) in pairs)


def save_pictures(folder, names, dtype=np.uint8):
    Path(folder).mkdir()
    for i, name in enumerate(names):
        ramp = np.linspace(0, np.iinfo(dtype).max // (i + 1), 24).astype(dtype)
        picture = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (16, 24, 3)))
        cv2.imwrite(f"{folder}/{name}.png", picture)


def error(capfd):
    """The one line that the command ends with."""
    err = capfd.readouterr().err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert err.endswith(f"{lines[0]}\n")
    return lines[0]


def stop_at(monkeypatch, number, fault=KeyboardInterrupt):
    """Stops the network before the window of this number."""
    enlarge, calls = Upscaler._enlarge_window, count()

    def stopped(*given):
        if next(calls) == number:
            raise fault
        return enlarge(*given)

    monkeypatch.setattr(Upscaler, "_enlarge_window", stopped)


class TestVideo:
    def test_a_film_with_sound(self, capfd):
        assert upscale("a.mp4") == 0
        assert capfd.readouterr().out == "a_x4.mp4\n"
        before, after = frames("a.mp4"), frames("a_x4.mp4")
        assert [image.shape for _, image in after] == [(64, 96, 3)] * 6
        assert [at for at, _ in after] == [at for at, _ in before]
        for (_, small), (_, large) in zip(before, after, strict=True):
            assert abs(large[::4, ::4].astype(int) - small).mean() < 4
        assert sound("a_x4.mp4") == sound("a.mp4")
        with av.open("a_x4.mp4") as film:
            assert film.metadata["title"] == "A small film"
        assert sorted(path.name for path in Path().iterdir()) == ["a.mp4", "a_x4.mp4", "net.pth"]

    @pytest.mark.parametrize("name", ["b.mkv", "b.mov", "b.m4v"])
    def test_other_containers(self, name):
        assert upscale("a.mp4", "-o", name) == 0
        assert len(frames(name)) == 6
        # Matroska's times are in milliseconds.
        assert [data for _, data in sound(name)] == [data for _, data in sound("a.mp4")]

    def test_webm_does_not_hold_the_sound(self, capfd):
        assert upscale("a.mp4", "-o", "b.webm") == 1
        assert "name an output that ends in .mkv, which may, or leave it out with --drop audio" in error(capfd)
        options = ["--drop", "audio", "--encoder-option", "cpu-used=8", "deadline=realtime"]
        assert upscale("a.mp4", "-o", "b.webm", *options) == 0
        assert len(frames("b.webm")) == 6

    def test_several_one_of_them_bad(self, make_video, capfd, monkeypatch):
        make_video("b.mkv", audio=False)
        enlarge, calls = Upscaler._enlarge_window, count()

        def once(self, window, pieces):
            if next(calls) == 0:
                from vsrm_arch.errors import UserError

                raise UserError("out of memory")
            return enlarge(self, window, pieces)

        monkeypatch.setattr(Upscaler, "_enlarge_window", once)
        assert upscale("a.mp4", "b.mkv", "-o", "out") == 1
        captured = capfd.readouterr()
        assert captured.out == "out/b_x4.mkv\n"
        assert captured.err.count("error: out of memory\n") == 1
        assert len(frames("out/b_x4.mkv")) == 6
        assert not Path("out/a_x4.mp4").exists()

    def test_a_glob_into_a_folder(self, make_video, capfd):
        make_video("b.mp4", 2)
        assert upscale("?.mp4", "-o", "out") == 0
        assert capfd.readouterr().out == "out/a_x4.mp4\nout/b_x4.mp4\n"

    def test_what_is_there_is_left_alone(self, capfd):
        Path("a_x4.mp4").write_text("precious")
        assert upscale("a.mp4") == 1
        assert error(capfd).startswith("error: a_x4.mp4 is there already; name another with -o, or replace it with")
        assert upscale("a.mp4", "--resume") == 0
        assert Path("a_x4.mp4").read_text() == "precious"
        assert upscale("a.mp4", "--force") == 0
        assert len(frames("a_x4.mp4")) == 6

    def test_a_failed_run_with_force_leaves_it_alone(self, capfd, monkeypatch):
        Path("a_x4.mp4").write_text("precious")
        stop_at(monkeypatch, 1)
        assert upscale("a.mp4", "--force") == 130
        assert Path("a_x4.mp4").read_text() == "precious"

    def test_compare(self):
        options = ["--quality", "0", "--pix-fmt", "yuv444p"]
        assert upscale("a.mp4", "--compare", *options) == 0
        assert upscale("a.mp4", "-o", "whole.mp4", *options) == 0
        (_, split), (_, whole) = frames("a_x4.mp4")[2], frames("whole.mp4")[2]
        assert (split[:, 47:49] > 250).all()
        # The network of these tests is bicubic enlargement itself.
        assert (split[:, :46] == whole[:, :46]).all()
        assert (split[:, 50:] == whole[:, 50:]).all()


class TestPictures:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_a_folder(self, dtype, capfd):
        save_pictures("clip", ["f10", "f9"], dtype)
        assert upscale("clip") == 0
        assert capfd.readouterr().out == "clip_x4\n"
        assert sorted(path.name for path in Path("clip_x4").iterdir()) == ["f10.png", "f9.png"]
        for name in ("f9", "f10"):
            small, large = (cv2.imread(f"{f}/{name}.png", cv2.IMREAD_UNCHANGED) for f in ("clip", "clip_x4"))
            assert large.dtype == dtype
            assert large.shape == (64, 96, 3)
            assert abs(large.mean() / small.mean() - 1) < 0.01

    def test_into_a_video(self):
        save_pictures("clip", ["1", "2", "3"])
        assert upscale("clip", "-o", "b.mp4", "--fps", "30000/1001") == 0
        assert [at for at, _ in frames("b.mp4")] == pytest.approx([0, 1001 / 30000, 2002 / 30000])

    def test_from_a_video(self, capfd):
        assert upscale("a.mp4", "--frames") == 0
        assert capfd.readouterr().out == "a_x4\n"
        assert sorted(path.name for path in Path("a_x4").iterdir()) == [f"{i:08d}.png" for i in range(6)]
        assert cv2.imread("a_x4/00000000.png").shape == (64, 96, 3)


class TestLooking:
    @pytest.mark.parametrize("seconds", [[], ["0"], ["0.1"], ["0.24"]])
    def test_preview(self, capfd, seconds):
        assert upscale("a.mp4", "--preview", *seconds) == 0
        assert capfd.readouterr().out == "a_x4_preview.png\n"
        picture = cv2.imread("a_x4_preview.png")
        assert picture.shape == (64, 96 + 4 + 96, 3)
        assert (picture[:, 96:100] == 255).all()
        assert (picture[:, :96] == picture[:, 100:]).all()
        assert not Path("a_x4.mp4").exists()

    def test_ten_bits_that_an_encoder_does_not_write(self, capfd, make_video):
        make_video("deep.mkv", pix_fmt="yuv420p10le")
        assert upscale("deep.mkv", "--dry-run") == 0
        assert "bits" not in capfd.readouterr().err
        assert upscale("deep.mkv", "--dry-run", "--pix-fmt", "yuv420p") == 0
        assert "deep.mkv: libx264 writes 8 of its 10 bits." in capfd.readouterr().err

    def test_an_interlaced_video(self, capfd, make_video):
        make_video("fields.mp4", size=(32, 48), options={"x264-params": "interlaced=1"})
        assert upscale("fields.mp4", "--dry-run") == 0
        assert "fields.mp4 is interlaced" in capfd.readouterr().err
        assert upscale("a.mp4", "--dry-run") == 0
        assert "interlaced" not in capfd.readouterr().err

    def test_preview_beside_an_output_in_a_new_folder(self, capfd):
        assert upscale("a.mp4", "--preview", "-o", "new/b.mp4") == 0
        assert Path("new/b_preview.png").is_file()
        save_pictures("v1.5", ["1"])
        assert upscale("v1.5", "--preview") == 0
        assert Path("v1.5_x4_preview.png").is_file()

    @pytest.mark.parametrize("seconds", ["nan", "inf"])
    def test_preview_of_no_time(self, capfd, seconds):
        assert upscale("a.mp4", "--preview", seconds) == 1
        assert error(capfd).startswith(f"error: --preview {seconds}: ")

    def test_dry_run(self, capfd):
        save_pictures("clip", ["1"])
        assert upscale("a.mp4", "clip", "--dry-run") == 0
        out = capfd.readouterr().out
        assert out.startswith(
            "a.mp4 -> a_x4.mp4\n  frames    6, 25 frames a second, 0:00:00\n  size      24x16 -> 96x64\n"
        )
        assert "\n  copied    audio (aac), metadata\n  memory    about " in out
        assert out.count("\n  time      about ") == 2
        assert "clip -> clip_x4\n" in out
        assert sorted(path.name for path in Path().iterdir()) == ["a.mp4", "clip", "net.pth"]

    def test_dry_run_of_what_is_there(self, capfd):
        Path("a_x4.mp4").write_text("precious")
        assert upscale("a.mp4", "--dry-run") == 0
        assert "a_x4.mp4 is there already; only --force replaces it\n" in capfd.readouterr().err
        assert Path("a_x4.mp4").read_text() == "precious"


class TestCodecs:
    @pytest.mark.parametrize(
        ("codec", "suffix", "options"),
        [
            ("libx264", "mp4", []),
            ("libx265", "mp4", ["preset=ultrafast"]),
            ("libsvtav1", "mp4", ["preset=8"]),
            ("libsvtav1", "mkv", ["preset=8"]),
            ("libvpx-vp9", "webm", ["cpu-used=8"]),
            ("mpeg4", "mp4", []),
            ("ffv1", "mkv", []),
            ("prores_ks", "mov", []),
        ],
    )
    def test_from_end_to_end(self, make_video, codec, suffix, options):
        if codec not in av.codecs_available:
            pytest.skip(f"this PyAV has no {codec}")
        make_video("b.mp4", 6, (64, 64), audio=False)
        more = ["--encoder-option", *options] if options else []
        assert upscale("b.mp4", "-o", f"c.{suffix}", "--codec", codec, *more) == 0
        before, after = frames("b.mp4"), frames(f"c.{suffix}")
        assert [at for at, _ in after] == pytest.approx([at for at, _ in before], abs=1e-3)
        for (_, small), (_, large) in zip(before, after, strict=True):
            assert abs(large[::4, ::4].astype(int) - small).mean() < 6
        with av.open(f"c.{suffix}") as film:
            assert film.streams.video[0].average_rate == 25

    def test_a_time_code_is_no_hindrance(self):
        with av.open("a.mp4") as old, av.open("b.mov", "w") as new:
            stream = new.add_stream_from_template(old.streams.video[0])
            stream.metadata["timecode"] = "10:00:00:00"
            for packet in old.demux(old.streams.video[0]):
                if packet.size:
                    packet.stream = stream
                    new.mux(packet)
        for output in ("c.mov", "c.mp4", "c.mkv"):
            assert upscale("b.mov", "-o", output) == 0
            assert len(frames(output)) == 6


class TestStops:
    LOSSLESS = ("--quality", "0")

    def test_interrupted_and_resumed(self, capfd, monkeypatch):
        assert upscale("a.mp4", "-o", "whole.mp4", *self.LOSSLESS) == 0
        with monkeypatch.context() as patch:
            stop_at(patch, 2)
            assert upscale("a.mp4", *self.LOSSLESS) == 130
        line = capfd.readouterr().err.splitlines()[-1]
        assert line.startswith("interrupted: ")
        assert line.endswith(" of 6 frames are in a_x4.partial.mp4; --resume goes on after them")
        assert not Path("a_x4.mp4").exists()
        num_kept = int(line.split()[1])
        assert 0 < num_kept < 6
        assert len(frames("a_x4.partial.mp4")) == num_kept
        assert upscale("a.mp4", *self.LOSSLESS) == 1
        assert "--resume goes on after it, --force starts anew" in error(capfd)
        assert upscale("a.mp4", "--resume", "--quality", "1") == 1
        assert "give the same, or start again with --force" in error(capfd)
        assert upscale("a.mp4", "--resume", *self.LOSSLESS) == 0
        assert same("a_x4.mp4", "whole.mp4")
        assert sound("a_x4.mp4") == sound("a.mp4")
        assert not list(Path().glob("*.partial*"))

    def test_before_the_first_frame(self, capfd, monkeypatch):
        with monkeypatch.context() as patch:
            stop_at(patch, 0)
            assert upscale("a.mp4") == 130
        assert capfd.readouterr().err.endswith("interrupted: no frame of a_x4.mp4 was written yet\n")
        assert not list(Path().glob("a_x4*"))

    def test_pictures(self, capfd, monkeypatch):
        assert upscale("a.mp4", "-o", "whole", "--frames") == 0
        with monkeypatch.context() as patch:
            stop_at(patch, 2)
            assert upscale("a.mp4", "--frames") == 130
        assert "frames are in a_x4.partial; --resume" in capfd.readouterr().err
        assert upscale("a.mp4", "--frames", "--resume") == 0
        for path in Path("whole").iterdir():
            assert path.read_bytes() == Path("a_x4", path.name).read_bytes()

    @pytest.mark.parametrize("pictures", [False, True])
    def test_a_full_disk(self, capfd, monkeypatch, pictures):
        """One write fails, and there is room again for those that wait behind it."""
        options = ["--frames"] if pictures else self.LOSSLESS
        assert upscale("a.mp4", "-o", "whole" if pictures else "whole.mp4", *options) == 0
        from vsrm_arch.upscaling import pictures as module

        place, name = (module, "encode_png") if pictures else (target, "from_rgb")
        original, calls = getattr(place, name), count()

        def full(*given):
            if next(calls) == 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*given)

        with monkeypatch.context() as patch:
            patch.setattr(place, name, full)
            assert upscale("a.mp4", *options) == 1
        # The segment that is being written is given up; a picture is whole or not.
        kept = "; --resume goes on after 1 frame" if pictures else ""
        assert error(capfd).endswith(f": the disk is full; make room{kept}")
        assert upscale("a.mp4", "--resume", *options) == 0
        if pictures:
            for path in Path("whole").iterdir():
                assert path.read_bytes() == Path("a_x4", path.name).read_bytes()
        else:
            assert same("a_x4.mp4", "whole.mp4")

    @pytest.mark.slow
    @pytest.mark.timeout(240)
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_a_process(self, make_video, number):
        make_video("b.mp4", 16)
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        # A job in the background of a shell ignores SIGINT, and hands that down.
        interruptible = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        command = [sys.executable, "-c", SLOW, *arguments("b.mp4", *self.LOSSLESS)]
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=interruptible
        ) as process:
            while not list(Path().glob("b_x4.mp4.partial/0*")) and process.poll() is None:
                time.sleep(0.05)
            time.sleep(0.5)
            process.send_signal(number)
            err = process.communicate(timeout=60)[1]
        assert "Traceback" not in err
        assert not Path("b_x4.mp4").exists()
        if number != signal.SIGKILL:
            assert process.returncode == 130
            assert err.splitlines()[-1].startswith("interrupted: ")
            assert frames("b_x4.partial.mp4")
        assert upscale("b.mp4", "--resume", *self.LOSSLESS) == 0
        assert upscale("b.mp4", "-o", "whole.mp4", *self.LOSSLESS) == 0
        assert same("b_x4.mp4", "whole.mp4")
        assert not list(Path().glob("*.partial*"))

    def test_interrupted_while_it_is_put_together(self, capfd, monkeypatch):
        def stopped(*_):
            raise KeyboardInterrupt

        real = target.mux
        with monkeypatch.context() as patch:
            patch.setattr(target, "mux", lambda *given: stopped() if given[0].name == "a_x4.mp4" else real(*given))
            assert upscale("a.mp4") == 130
        assert capfd.readouterr().err.endswith(
            "interrupted: 6 of 6 frames are in a_x4.partial.mp4; --resume goes on after them\n"
        )
        assert upscale("a.mp4", "--resume") == 0
        assert len(frames("a_x4.mp4")) == 6
        assert not list(Path().glob("*.partial*"))

    def test_a_fault_that_no_one_thought_of_keeps_frames(self, monkeypatch):
        with monkeypatch.context() as patch:
            stop_at(patch, 2, ZeroDivisionError)
            with pytest.raises(ZeroDivisionError):
                upscale("a.mp4")
        assert list(Path("a_x4.mp4.partial").glob("*.mp4"))
        assert upscale("a.mp4", "--resume") == 0
        assert len(frames("a_x4.mp4")) == 6

    def test_another_rate_is_another_film(self, capfd, monkeypatch):
        save_pictures("clip", map(str, range(6)))
        with monkeypatch.context() as patch:
            stop_at(patch, 2)
            assert upscale("clip", "-o", "b.mp4", "--fps", "25") == 130
        assert upscale("clip", "-o", "b.mp4", "--fps", "10", "--resume") == 1
        assert "was made with rate 25, not 10; give the same" in error(capfd)

    def test_other_weights_of_the_same_name_are_told(self, capfd, monkeypatch):
        with monkeypatch.context() as patch:
            stop_at(patch, 2)
            assert upscale("a.mp4") == 130
        content = torch.load("net.pth", weights_only=True)
        torch.save(content | {"other": torch.ones(9)}, "net.pth")
        assert upscale("a.mp4", "--resume") == 1
        assert "was made with weights net.pth, iteration 0, net.pth " in error(capfd)


class TestFolders:
    """Nothing but frames of ours is ever replaced."""

    def test_a_folder_with_something_else_stays(self, capfd):
        Path("mine").mkdir()
        Path("mine/thesis.txt").write_text("precious")
        Path("a.mp4").rename("mine/a.mp4")
        for force in ([], ["--force"]):
            assert upscale("mine/a.mp4", "--frames", "-o", "mine", *force) == 1
            assert error(capfd) == (
                "error: mine holds something else than frames of this film (a.mp4); name another with -o"
            )
        assert upscale("mine/a.mp4", "--frames", "-o", ".", "--force") == 1
        assert "holds something else than frames of this film" in error(capfd)
        assert sorted(path.name for path in Path("mine").iterdir()) == ["a.mp4", "thesis.txt"]

    def test_frames_are_replaced(self, capfd):
        assert upscale("a.mp4", "--frames", "-o", "out") == 0
        assert upscale("a.mp4", "--frames", "-o", "out") == 1
        assert error(capfd).startswith("error: out is there already; ")
        Path("out/00000077.png").write_bytes(b"of a longer film")
        assert upscale("a.mp4", "--frames", "-o", "out", "--force") == 0
        assert len(list(Path("out").iterdir())) == 6
        assert sorted(path.name for path in Path().iterdir()) == ["a.mp4", "net.pth", "out"]

    def test_an_empty_folder_is_taken(self):
        Path("out").mkdir()
        assert upscale("a.mp4", "--frames", "-o", "out") == 0
        assert len(list(Path("out").iterdir())) == 6

    def test_a_folder_of_our_name_that_is_none_of_ours(self, capfd):
        Path("a_x4.mp4.partial").mkdir()
        Path("a_x4.mp4.partial/thesis.txt").write_text("precious")
        assert upscale("a.mp4", "--force") == 1
        assert "a_x4.mp4.partial holds something else than a part of a film; move it away" in error(capfd)
        assert Path("a_x4.mp4.partial/thesis.txt").exists()

    def test_outputs_among_the_inputs(self, make_video, monkeypatch, capfd):
        make_video("b.mp4")
        assert upscale("b.mp4") == 0
        with monkeypatch.context() as patch:
            stop_at(patch, 2)
            assert upscale("a.mp4") == 130
        assert upscale("*.mp4", "--resume") == 0
        err = capfd.readouterr().err
        assert "a_x4.partial.mp4 is left out: it is made from another input." in err
        assert "b_x4.mp4 is left out: it is made from another input." in err
        assert sorted(path.name for path in Path().iterdir()) == [
            "a.mp4", "a_x4.mp4", "b.mp4", "b_x4.mp4", "net.pth"
        ]  # fmt: skip


class TestErrors:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (["none.mp4"], "none.mp4: no such file or folder; check the path"),
            (["junk.mp4"], "junk.mp4 is no readable video"),
            (["empty.mp4"], "empty.mp4 is no readable video"),
            (["cut.mp4"], "cut.mp4 holds no video"),
            (["folder"], "folder holds no pictures"),
            (["a.mp4", "-o", "b.avi"], "-o b.avi: videos are written as .mp4, .m4v, .mov, .mkv, .webm"),
            (["a.mp4", "-o", "b.wmv"], "-o b.wmv: videos are written as .mp4, .m4v, .mov, .mkv, .webm"),
            (["a.mp4", "-o", "b.gif"], "-o b.gif: videos are written as .mp4, .m4v, .mov, .mkv, .webm"),
            (["a.mp4", "--fps", "24"], "--fps is for folders of frames that become videos; a video keeps its rate"),
            (["a.mp4", "--frames", "--codec", "ffv1"], "--codec is for videos, and pictures are written; leave it"),
            (["a.mp4", "--frames", "--drop", "audio"], "--drop is for videos, and pictures are written; leave it"),
            (["a.mp4", "--preview", "-3"], "--preview -3: expected seconds"),
            (["a.mp4", "--encoder-option", "presett=slow"], "--encoder-option presett: libx264 has no such option"),
            (["a.mp4", "-o", "b.webm", "--codec", "libx264", "--drop", "audio"], "'webm' format does not support"),
            (["a.mp4", "-o", "b.mp4", "--codec", "prores_ks"], "'mp4' format does not support 'prores_ks' codec"),
            (["a.mp4", "-o", "b.mov", "--codec", "libvpx-vp9"], "libvpx-vp9 cannot be written as mov ("),
            (["a.mp4", "-o", "a.mp4"], "a.mp4 is input and output at once"),
            (["a.mp4", "a.mp4", "-o", "b.mp4"], "-o b.mp4: 2 films cannot become one"),
            (["a.mp4", "-o", "junk.mp4/b.mp4"], "junk.mp4/b.mp4: "),
            (["a.mp4", "--fps", "0"], "--fps 0: expected frames a second"),
            (["a.mp4", "--fps", "1/0"], "--fps 1/0: expected frames a second"),
            (["a.mp4", "--fps", "nan"], "--fps nan: expected frames a second"),
            (["a.mp4", "--memory", "much"], "--memory much: expected a size"),
            (["a.mp4", "--memory", "1K"], ""),
            (["a.mp4", "--window", "0"], "--window 0: must be at least 1"),
            (["a.mp4", "--tile", "-1"], "--tile -1: must be at least 0"),
            (["a.mp4", "--encoder-option", "preset"], "--encoder-option preset: expected KEY=VALUE"),
            (["a.mp4", "--encoder-option", "preset=x"], "libx264 takes no video of 96x64, yuv420p, with "),
            (["a.mp4", "--codec", "x"], "--codec x: this PyAV has no such video encoder"),
            (["a.mp4", "--codec", "aac"], "--codec aac: this PyAV has no such video encoder"),
            (["a.mp4", "--pix-fmt", "x"], "--pix-fmt x: libx264 does not take it; it takes yuv420p"),
            (["a.mp4", "--codec", "ffv1", "--quality", "3"], "--quality 3: ffv1 has no such scale"),
            (["a.mp4", "--quality", "52"], "--quality 52: libx264 takes 0 (best) to 51, and 17 where none is given"),
            (["a.mp4", "--quality=-1"], "--quality -1: libx264 takes 0 (best) to 51"),
            (["a.mp4", "--memory", "6"], "--memory 6: expected a size such as 6G or 800M"),
            (["a.mp4", "--preview", "9"], "--preview 9: a.mp4 lasts 0.24 s"),
            (["."], ". holds videos ("),
            (["a.mp4", "--weights", "no.pth"], "weights: "),
            (["a.mp4", "--weights", "other.pth"], "weights: other.pth does not say which network it belongs to"),
            (["a.mp4", "-opt", "no.yml"], "no.yml: no such option file"),
        ],
    )
    def test_one_line(self, capfd, given, message):
        data = Path("a.mp4").read_bytes()
        Path("junk.mp4").write_bytes(b"no video" * 100)
        Path("empty.mp4").touch()
        Path("cut.mp4").write_bytes(data[: len(data) // 2])
        Path("folder").mkdir()
        torch.save({"params": {"weight": torch.ones(1)}}, "other.pth")
        before = sorted(Path().iterdir())
        assert upscale(*given) == 1
        assert error(capfd).startswith(f"error: {message}")
        assert sorted(Path().iterdir()) == before
        assert Path("a.mp4").read_bytes() == data

    def test_cut_short(self, make_video, capfd):
        make_video("b.mp4", 40, audio=False)
        # Its index is in front, as that of all that is written here.
        assert upscale("b.mp4", "-o", "whole.mp4", "--window", "8") == 0
        Path("cut.mp4").write_bytes(Path("whole.mp4").read_bytes()[:-2000])
        assert upscale("cut.mp4") == 1
        assert error(capfd).startswith("error: cut.mp4 is cut short: it holds ")

    def test_sound_alone(self, make_video, capfd):
        make_video("b.mp4", 0)
        assert upscale("b.mp4") == 1
        assert error(capfd) == "error: b.mp4 holds no video; leave it out"

    def test_one_pixel(self, make_video):
        make_video("b.mkv", 2, (1, 1), audio=False, codec="ffv1", pix_fmt="bgr0")
        assert upscale("b.mkv") == 0
        assert [image.shape for _, image in frames("b_x4.mkv")] == [(4, 4, 3)] * 2

    def test_wider_than_the_encoder_takes(self, make_video, capfd):
        make_video("b.mkv", 1, (10, 10000), audio=False, codec="ffv1")
        assert upscale("b.mkv") == 1
        assert error(capfd).startswith("error: libx264 takes no video of 40000x40, yuv420p, with crf=17 (")
        assert not list(Path().glob("b_x4*"))

    def test_high_dynamic_range(self, make_video, capfd):
        make_video("b.mp4", 2, color_trc=16, color_primaries=9, colorspace=9)
        assert upscale("b.mp4") == 1
        assert error(capfd).startswith("error: b.mp4 is high dynamic range (PQ, HDR10 or Dolby Vision)")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
    def test_no_gpu(self, capfd):
        assert upscale("a.mp4", "--device", "cuda") == 1
        assert error(capfd).startswith("error: --device cuda: ")

    def test_without_pyav(self, capfd, monkeypatch):
        monkeypatch.setitem(sys.modules, "av", None)
        assert upscale("a.mp4") == 1
        assert error(capfd) == 'error: reading a.mp4 needs PyAV: pip install "vsrm-arch[video]"'

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_that_cannot_be_written(self, capfd):
        Path("shut").mkdir(mode=0o555)
        assert upscale("a.mp4", "-o", "shut/b.mp4") == 1
        assert "shut" in error(capfd)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4")])
def test_damaged_files(make_video, capfd, suffix, codec):
    whole = f"whole.{suffix}"
    make_video(whole, 4, codec=codec)
    original = Path(whole).read_bytes()
    for seed in range(14):
        rng = random.Random(seed)
        data = bytearray(original)
        at = rng.randrange(len(data))
        kind = rng.choice(["flip", "truncate", "overwrite", "insert"])
        if kind == "flip":
            for _ in range(5):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == "truncate":
            del data[at:]
        elif kind == "overwrite":
            data[at : at + 64] = rng.randbytes(len(data[at : at + 64]))
        else:
            data[at:at] = rng.randbytes(7)
        Path(f"b.{suffix}").write_bytes(data)
        output = Path(f"{seed}.mkv")
        status = upscale(f"b.{suffix}", "-o", output, "--encoder-option", "preset=ultrafast")
        if status:
            assert status == 1
            error(capfd)
        capfd.readouterr()
        assert output.exists() == (status == 0)
