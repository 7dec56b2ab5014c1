"""Video files in and out: frames as RGB pictures with their times, colours as they are meant, nothing lost."""

from vsrm_arch.video.colour import Colour, to_rgb
from vsrm_arch.video.encoding import Encoding, FrameFormat
from vsrm_arch.video.muxing import CONTAINERS, KINDS, copied_streams
from vsrm_arch.video.pyav import SUFFIXES
from vsrm_arch.video.reading import VideoFile, decoded, upright
from vsrm_arch.video.record import Record, faults_named, made_from, partial_video
from vsrm_arch.video.target import VideoTarget, check_encoding

__all__ = [
    "CONTAINERS",
    "KINDS",
    "SUFFIXES",
    "Colour",
    "Encoding",
    "FrameFormat",
    "Record",
    "VideoFile",
    "VideoTarget",
    "check_encoding",
    "copied_streams",
    "decoded",
    "faults_named",
    "made_from",
    "partial_video",
    "to_rgb",
    "upright",
]
