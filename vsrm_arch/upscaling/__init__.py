"""Films enlarged: from a video file or pictures, through a network, to a video file or pictures."""

from vsrm_arch.upscaling.films import Film, find_films
from vsrm_arch.upscaling.run import Run, Settings

__all__ = ["Film", "Run", "Settings", "find_films"]
