"""A clip as several methods give it: the truth, bicubic enlargement, pictures that tests have saved."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.utils import img2tensor, tensor2img
from numpy.typing import NDArray
from torch import Tensor

from vsrm_arch.config.messages import did_you_mean
from vsrm_arch.data.images import is_image, natural_key, read_image
from vsrm_arch.errors import UserError
from vsrm_arch.inference import super_resolve
from vsrm_arch.wording import counted

__all__ = ["RESERVED", "Given", "Image", "Rendition", "enlarged_by", "given"]

Image = NDArray[np.uint8]
# What a data set gives has these names; no method may.
RESERVED = ("GT", "bicubic")
# A picture of several methods beside the frames, see RecurrentVSRModel.
_COMPARISON = "comparison_"


@dataclass(frozen=True)
class Rendition:
    """A clip as one method gives it.

    Attributes:
        name: The method.
        frames: Number in the clip → what reads that frame, ``(H, W, 3)``, BGR, 0 to 255. Where a test saves the centre
            frame alone, that one.
    """

    name: str
    frames: Mapping[int, Callable[[], Image]]

    def frame(self, number: int) -> Image:
        """Reads a frame.

        Raises:
            UserError: If it is not there.
        """
        if number not in self.frames:
            only = f"; it is frame {next(iter(self.frames))} alone" if len(self.frames) == 1 else ""
            raise UserError(f"{self.name} has no frame {number}{only}")
        return self.frames[number]()


@dataclass(frozen=True)
class Given:
    """A clip of a data set.

    Attributes:
        clip: Its name.
        length: Number of frames.
        truth: The true frames, where they are known.
        bicubic: The input, enlarged.
    """

    clip: str
    length: int
    truth: Rendition | None
    bicubic: Rendition


def given(dataset_options: Mapping[str, Any], clip: str | None) -> Given:
    """Reads a clip of a data set.

    Args:
        dataset_options: A section of ``datasets``, checked.
        clip: The clip's name; None for the first.

    Raises:
        UserError: If there is no such clip, or the data set is of another kind.
    """
    dataset: Any = build_dataset(dict(dataset_options))
    names = getattr(dataset, "folders", None)
    if names is None:
        raise UserError(f"datasets: {dataset_options['name']} is no VideoClipDataset, whose clips can be shown")
    if clip is not None and clip not in names:
        raise UserError(f"--clip {clip}: {dataset_options['name']} has no such clip; {did_you_mean(clip, names)}")
    item = dataset[names.index(clip) if clip is not None else 0]
    bicubic = build_network({"type": "Bicubic", "scale": dataset_options["scale"]})

    def enlarge(frame: Image) -> Image:
        tensor = img2tensor(frame / np.float32(255))[None, None]
        enlarged: Image = tensor2img(super_resolve(bicubic, tensor, scale=bicubic.scale)[0, 0])
        return enlarged

    lq, gt = (_images(item[name]) if name in item else None for name in ("lq", "gt"))
    assert lq is not None
    return Given(
        item["folder"],
        len(lq),
        None if gt is None else Rendition(RESERVED[0], {i: partial(_same, frame) for i, frame in enumerate(gt)}),
        Rendition(RESERVED[1], {i: partial(enlarge, frame) for i, frame in enumerate(lq)}),
    )


def enlarged_by(name: str, folder: Path, frames: Sequence[int], suffix: str = "") -> Rendition:
    """The pictures in a folder, in natural order: those that a test has saved, or another program's.

    Args:
        name: The method.
        folder: Holds a picture for each frame.
        frames: The frames' numbers in the clip.
        suffix: What the pictures' names end in, before the dot.

    Raises:
        UserError: If there are no pictures, or of another number.
    """
    found = (path for path in folder.glob(f"*{escape(suffix)}.*") if is_image(path))
    pictures = [path for path in found if not path.stem.startswith(_COMPARISON)]
    pictures.sort(key=lambda path: natural_key(path.name))
    if len(pictures) != len(frames):
        there = counted(len(pictures), "picture")
        raise UserError(f"{name}: {there} in {folder}, where {counted(len(frames), 'frame')} should be")
    return Rendition(name, {i: partial(read_image, path) for i, path in zip(frames, pictures, strict=True)})


def _images(frames: Tensor) -> list[Image]:
    """``(T, 3, H, W)``, RGB in [0, 1] → T images; they take a quarter of the memory."""
    return [tensor2img(frame) for frame in frames]


def _same(image: Image) -> Image:
    return image
