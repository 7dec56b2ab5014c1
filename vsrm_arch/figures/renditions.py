"""A clip as several methods give it: the truth, bicubic enlargement, pictures that tests have saved."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.utils import tensor2img
from numpy.typing import NDArray
from torch import Tensor

from vsrm_arch.config.messages import did_you_mean
from vsrm_arch.data.images import is_image, natural_key, read_image
from vsrm_arch.errors import UserError
from vsrm_arch.inference import super_resolve
from vsrm_arch.wording import counted

__all__ = ["Image", "Rendition", "enlarged_by", "given"]

Image = NDArray[np.uint8]
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


def given(dataset_options: Mapping[str, Any], clip: str | None) -> tuple[str, int, list[Rendition]]:
    """What a data set gives: the truth, where it is known, and bicubic enlargement.

    Args:
        dataset_options: A section of ``datasets``, checked.
        clip: The clip's name; None for the first.

    Returns:
        The clip's name, its number of frames, and the renditions, "GT" first.

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

    def enlarge(frame: Tensor) -> Image:
        enlarged: Image = tensor2img(super_resolve(bicubic, frame[None, None], scale=bicubic.scale)[0, 0])
        return enlarged

    renditions = [Rendition("bicubic", {i: partial(enlarge, frame) for i, frame in enumerate(item["lq"])})]
    if "gt" in item:
        truth = {i: partial(tensor2img, frame) for i, frame in enumerate(item["gt"])}
        renditions.insert(0, Rendition("GT", truth))
    return item["folder"], len(item["lq"]), renditions


def enlarged_by(name: str, folder: Path, length: int, suffix: str = "") -> Rendition:
    """The pictures in a folder, in natural order: those that a test has saved, or another program's.

    Args:
        name: The method.
        folder: A picture for each frame of the clip, or one alone for the centre frame.
        length: Number of frames of the clip.
        suffix: What the pictures' names end in, before the dot.

    Raises:
        UserError: If there are no pictures, or of another number.
    """
    pictures = [
        path for path in folder.glob(f"*{suffix}.*") if is_image(path) and not path.stem.startswith(_COMPARISON)
    ]
    pictures.sort(key=lambda path: natural_key(path.name))
    numbers: Sequence[int] = [length // 2] if len(pictures) == 1 else range(length)
    if len(pictures) != len(numbers):
        there = counted(len(pictures), "picture")
        raise UserError(f"{name}: {there} in {folder}, but {counted(length, 'frame')} in the clip; test again")
    return Rendition(name, {i: partial(read_image, path) for i, path in zip(numbers, pictures, strict=True)})
