"""One pass over clips of any length and size: time windows, tiles, padding."""

from vsrm_arch.inference.streaming import Upscaler, upscale
from vsrm_arch.inference.super_resolution import super_resolve, with_mirror
from vsrm_arch.inference.tiles import run_in_tiles
from vsrm_arch.inference.windows import run_in_windows

__all__ = ["Upscaler", "run_in_tiles", "run_in_windows", "super_resolve", "upscale", "with_mirror"]
