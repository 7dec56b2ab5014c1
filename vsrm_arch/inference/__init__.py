"""One pass over clips of any length and size: time windows, tiles, padding; films as streams; networks ready to run."""

from vsrm_arch.inference.loading import LoadedNetwork, load, save
from vsrm_arch.inference.streaming import Upscaler, upscale
from vsrm_arch.inference.super_resolution import super_resolve, with_mirror
from vsrm_arch.inference.tiles import run_in_tiles
from vsrm_arch.inference.windows import run_in_windows

__all__ = [
    "LoadedNetwork",
    "Upscaler",
    "load",
    "run_in_tiles",
    "run_in_windows",
    "save",
    "super_resolve",
    "upscale",
    "with_mirror",
]
