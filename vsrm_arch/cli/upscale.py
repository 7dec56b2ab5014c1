"""Enlarge videos: a video file in, a video file out.

INPUT is a video file, a folder of frames, a glob, or several of them. Audio, subtitles, chapters and metadata are
copied; times, colours, bit depth and pixel shape are kept, rotation is applied. Films may be of any length and size:
windows and tiles are chosen to fit the memory that is free. Videos need the extra "video".
"""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vsrm_arch.cli.measuring import progress, use_device
from vsrm_arch.errors import UserError, first_line
from vsrm_arch.video import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from vsrm_arch.inference import LoadedNetwork
    from vsrm_arch.precision import Precision
    from vsrm_arch.upscaling import Film, Run

__all__ = ["add_arguments", "add_network", "load_network", "run"]

_MIDDLE = "middle"
_VIDEO_FLAGS = ("codec", "quality", "pix-fmt", "encoder-option", "drop")

_EPILOG = """Without -o the output lies beside the input: holiday.mp4 becomes holiday_x4.mp4.
A run that is stopped, by Ctrl-C or a full disk, leaves what is written so far as a video that can be played
(holiday_x4.partial.mp4), and --resume goes on after it.

examples:
  basicsr upscale holiday.mp4
      holiday_x4.mp4, by the demonstration weights

  basicsr upscale holiday.mp4 --preview
      a frame, right of its bicubic enlargement, holiday_x4_preview.png; --dry-run says how long the whole takes

  basicsr upscale holiday.mp4 -o large.mkv --weights experiments/train_VSRM_REDS/models/net_g_latest.pth \\
      --codec libx265 --quality 18
      by weights of your own, as H.265

  basicsr upscale downloads/*.mp4 frames/ -o enlarged/ --resume
      several films into a folder; those that are there are left alone

  basicsr upscale holiday.mp4 --weights downloads/IART_REDS_N16.pth -opt options/test_IART_REDS4.yml
      published weights, which do not say of which network they are"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and output, the network, how it runs and how the video is written."""
    parser.epilog = _EPILOG
    # Flags that take several values, or none, would take the inputs behind them.
    parser.usage = "%(prog)s INPUT [INPUT ...] [-o OUTPUT] [options]"
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="video, folder of frames, or glob")
    text = "video (.mp4, .m4v, .mov, .mkv, .webm) or folder (default: beside the input)"
    parser.add_argument("-o", "--output", type=Path, metavar="OUTPUT", help=text)
    network = parser.add_argument_group("network")
    add_network(network)
    text = "auto: the GPU if there is one (default: auto)"
    network.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help=text)
    text = "float32, bf16, fp16 (default: bf16 on GPUs that have it, otherwise float32)"
    network.add_argument("--dtype", choices=("auto", "float32", "bf16", "fp16"), default="auto", help=text)
    text = "memory to use, such as 6G (default: four fifths of what is free)"
    network.add_argument("--memory", metavar="SIZE", help=text)
    video = parser.add_argument_group("video")
    text = "encoder, by ffmpeg's name: libx264, libx265, libsvtav1, h264_nvenc, … (default: libx264)"
    video.add_argument("--codec", metavar="NAME", help=text)
    text = "constant quality, lower is better: 0 to 51 for libx264, default 17 (other encoders: other numbers)"
    video.add_argument("--quality", type=int, metavar="N", help=text)
    text = "such as yuv444p (default: yuv420p, in 10 bit for more than 8)"
    video.add_argument("--pix-fmt", metavar="NAME", help=text)
    text = "other options of the encoder, such as preset=slow"
    video.add_argument("--encoder-option", nargs="+", default=[], metavar="KEY=VALUE", help=text)
    text = f"streams that are not copied: {', '.join(KINDS)} (video: posters)"
    video.add_argument("--drop", nargs="+", choices=KINDS, default=[], metavar="KIND", help=text)
    video.add_argument("--frames", action="store_true", help="write PNG files into a folder")
    video.add_argument("--fps", metavar="RATE", help="of a folder of frames that becomes a video (default: 25)")
    looking = parser.add_argument_group("looking")
    text = "write one frame, its bicubic enlargement left of it, and nothing else (default: the middle of the film)"
    looking.add_argument("--preview", nargs="?", const=_MIDDLE, metavar="SECONDS", help=text)
    looking.add_argument("--compare", action="store_true", help="split the screen: bicubic enlargement left")
    looking.add_argument("--dry-run", action="store_true", help="say what would be done, in what time and memory")
    looking.add_argument("--resume", action="store_true", help="go on where an earlier run was stopped")
    looking.add_argument("--force", action="store_true", help="replace what is there, once the new is complete")


def add_network(group: "argparse._ActionsContainer") -> None:
    """Which network, and in which pieces it runs."""
    text = "file (.pth, .safetensors), Hugging Face path, or name (default: sample, a demonstration)"
    group.add_argument("--weights", default="sample", metavar="FILE", help=text)
    text = "option file of the network, for weights that do not name theirs"
    group.add_argument("-opt", metavar="FILE", help=text)
    group.add_argument("--window", type=int, metavar="N", help="frames in one pass (default: what fits, 32 at most)")
    text = "side of a tile in pixels of the input; 0: whole frames (default: what fits)"
    group.add_argument("--tile", type=int, metavar="N", help=text)


def load_network(args: argparse.Namespace, device: "torch.device") -> "LoadedNetwork":
    """The network of :func:`add_network`, on a device.

    Raises:
        UserError: If an argument of it is at fault, or it cannot be loaded.
    """
    from vsrm_arch.bench import read_networks
    from vsrm_arch.inference import load

    for name, least in (("window", 1), ("tile", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"--{name} {value}: must be at least {least}")
    network = None if args.opt is None else read_networks([args.opt])[0].options
    return load(args.weights, network, device=device)


def run(args: argparse.Namespace) -> int:
    """Enlarges the inputs, one after the other.

    Args:
        args: Of :func:`add_arguments`.

    Returns:
        0, or 1 if one of several inputs failed.

    Raises:
        UserError: If an argument is at fault, before anything is done.
        KeyboardInterrupt: With what is kept as its message.
    """
    from vsrm_arch.inference import Upscaler
    from vsrm_arch.upscaling import Run, Settings, find_films

    rate = None if args.fps is None else _rate(args.fps)
    memory = None if args.memory is None else _memory(args.memory)
    preview_time = None if args.preview in (None, _MIDDLE) else _seconds(args.preview)
    device = use_device(args.device)
    with progress(backends=False), _stops_as_interruptions():
        loaded = load_network(args, device)
        films = find_films(args.inputs, args.output, loaded.scale, rate, args.frames)
        upscaler = Upscaler(
            loaded.network, loaded.scale, _precision(args.dtype, device), args.window, args.tile, memory
        )
        _check_video_flags(args, films)
        options = dict(_option(text) for text in args.encoder_option)
        settings = Settings(
            _told(loaded),
            codec=args.codec,
            quality=args.quality,
            pix_fmt=args.pix_fmt,
            encoder_options=options,
            drop=tuple(args.drop),
            split=args.compare,
            resume=args.resume,
            force=args.force or args.preview is not None or args.dry_run,
        )
        if args.resume and not args.force:
            films = [film for film in films if not _there(film.output)]
        runs = [Run(film, upscaler, settings) for film in films]
        if loaded.demonstration:
            logging.getLogger("basicsr.vsrm_arch").warning(
                "The weights are a demonstration: a tiny network, trained for minutes. Name others with --weights."
            )
        if args.dry_run:
            for film in runs:
                if film.film.output.exists() and not args.force:
                    sys.stderr.write(f"{film.film.output} is there already; only --force replaces it\n")
                sys.stdout.write("\n".join(film.describe(*film.plan())) + "\n")
            return 0
        if args.preview is not None:
            for film in runs:
                sys.stdout.write(f"{film.preview(_preview_of(film.film), preview_time)}\n")
            return 0
        return max([_enlarge(film, alone=len(runs) == 1) for film in runs], default=0)


@contextmanager
def _stops_as_interruptions() -> Iterator[None]:
    """A process that is asked to end, or whose terminal is closed, keeps what it has as at Ctrl-C."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # One that is ignored, as by nohup, stays so; handlers belong to the main thread.
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) == signal.SIG_DFL}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _enlarge(run: "Run", alone: bool) -> int:
    """Enlarges one of several films; what is wrong with it does not keep the others."""
    try:
        sys.stdout.write(f"{run.enlarge()}\n")
    except UserError as error:
        if alone:
            raise
        sys.stderr.write(f"error: {first_line(error)}\n")
        return 1
    return 0


def _check_video_flags(args: argparse.Namespace, films: "Sequence[Film]") -> None:
    """Flags that would do nothing are mistakes."""
    given = [flag for flag in _VIDEO_FLAGS if getattr(args, flag.replace("-", "_")) not in (None, [])]
    if given and all(film.to_pictures for film in films):
        raise UserError(f"--{given[0]} is for videos, and pictures are written; leave it out")
    if args.fps is not None and all(film.is_video or film.to_pictures for film in films):
        raise UserError("--fps is for folders of frames that become videos; a video keeps its rate")


def _told(loaded: "LoadedNetwork") -> str:
    """What tells weights from others, in the record of a film."""
    from vsrm_arch.data.prepare.encode import file_identity

    path = Path(loaded.source)
    return f"{loaded.source}, iteration {loaded.iteration}" + (f", {file_identity(path)}" if path.is_file() else "")


def _preview_of(film: "Film") -> Path:
    """A folder's name may hold dots."""
    output = film.output
    return output.with_name(f"{output.name if film.to_pictures else output.stem}_preview.png")


def _there(output: Path) -> bool:
    if output.exists():
        logging.getLogger("basicsr.vsrm_arch").info("%s is there already.", output)
    return output.exists()


def _precision(dtype: str, device: "torch.device") -> "Precision":
    import torch

    from vsrm_arch.precision import PRECISIONS

    if dtype == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(False) else "off"
    return PRECISIONS[dtype]


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise UserError(f"--fps {text}: expected frames a second, such as 24 or 30000/1001")
    return rate


def _seconds(text: str) -> Fraction:
    try:
        seconds = Fraction(text)
    except (ValueError, ZeroDivisionError):
        seconds = Fraction(-1)
    if seconds < 0:
        raise UserError(f"--preview {text}: expected seconds from the start of the film, such as 12.5, or nothing")
    return seconds


def _memory(text: str) -> int:
    from vsrm_arch.inference.memory import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise UserError(f"--memory {error}") from None


def _option(text: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not key or not found:
        raise UserError(f"--encoder-option {text}: expected KEY=VALUE, such as preset=slow")
    return key, value
