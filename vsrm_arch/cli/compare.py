"""Draw a region of a frame by several networks side by side, as the paper's Fig. 5: GT, bicubic, the networks.

Runs `basicsr test` on each option file and takes the pictures that it saves. With --row it draws a row of pixels over
time instead: steady motion draws smooth lines, flicker frays them.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsrm_arch.cli.measuring import numbers
from vsrm_arch.cli.testing import TestFile, add_tests, read_tests, run_test
from vsrm_arch.errors import UserError

if TYPE_CHECKING:
    from vsrm_arch.figures.crops import Region
    from vsrm_arch.figures.renditions import Image, Rendition

__all__ = ["add_arguments", "run"]

_EPILOG = """The clip, its truth and the kind of PSNR (RGB or Y) are those of the first option file's first data set.
The PSNR is that of the region. What was drawn is said at the end, so that it can be drawn again.

examples:
  basicsr compare -opt options/sample/test_VSRM_sample.yml -o compare.png
      the centre frame of the first clip, where the network differs most from bicubic enlargement

  basicsr compare -opt options/test_VSRM_Vid4.yml options/test_IART_Vid4.yml options/test_BasicVSRPP_Vid4.yml \\
      --clip city --frame 10 --region 320,180,96,64 --reuse
      three networks; what has been tested already is not tested again

  basicsr compare -opt options/test_VSRM_Vid4.yml --method RVRT=downloads/RVRT/city --clip city --row 240
      a temporal profile, beside another program's pictures of the clip"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The tests, and what of their clips is drawn."""
    parser.epilog = _EPILOG
    add_tests(parser)
    text = "pictures of the clip from elsewhere, one for each frame"
    parser.add_argument("--method", nargs="+", default=[], metavar="NAME=FOLDER", help=text)
    parser.add_argument("--clip", metavar="NAME", help="default: the first of the data set")
    parser.add_argument("--frame", type=int, metavar="N", help="counted from 0 (default: the centre frame)")
    text = "in pixels of the truth (default: where the methods' errors lie farthest apart)"
    parser.add_argument("--region", metavar="X,Y,W,H", help=text)
    text = "height x width of a region that is chosen (default: 64x96)"
    parser.add_argument("--size", default="64x96", metavar="HxW", help=text)
    text = "draw this row of pixels over time, of the columns of --region if given"
    parser.add_argument("--row", type=int, metavar="Y", help=text)
    text = "default: compare.png"
    parser.add_argument("-o", "--output", type=Path, default=Path("compare.png"), metavar="FILE", help=text)


def run(args: argparse.Namespace) -> int:
    """Tests where it must, and draws.

    Args:
        args: Of :func:`add_arguments`.

    Returns:
        0.

    Raises:
        UserError: If an argument, an option file, a test or its pictures are at fault.
    """
    import sys

    from vsrm_arch.figures.crops import draw_crops, most_different
    from vsrm_arch.figures.renditions import enlarged_by, given
    from vsrm_arch.figures.temporal_profile import draw_profiles, temporal_profile
    from vsrm_arch.plotting import check_plot

    if not args.opt:
        raise UserError("nothing to compare: name the option files of tests with -opt")
    check_plot(args.output, "-o")
    size = numbers("--size", args.size, count=2, example="64x96")
    region = None if args.region is None else _region(args.region)
    others = [_named_folder(text) for text in args.method]
    assignments = [*args.force_yml, "val:save_img=true"]
    tests = read_tests(args.opt, assignments)
    clip, length, renditions = given(tests[0].datasets[0], args.clip)
    for test in tests:
        folder, suffix = test.folder(test.datasets[0]) / clip, test.options["val"].get("suffix") or test.name
        if not (args.reuse and any(folder.glob(f"*_{suffix}.png"))) and not run_test(test, assignments):
            raise UserError(f"{test.path}: its test has failed, see above")
        renditions.append(enlarged_by(test.name, folder, length, f"_{suffix}"))
    renditions += [enlarged_by(name, folder, length) for name, folder in others]

    number = length // 2 if args.frame is None else args.frame
    images = _images(renditions, number)
    height, width = next(iter(images.values())).shape[:2]
    if region is not None and not (region.x + region.width <= width and region.y + region.height <= height):
        raise UserError(f"--region {region}: reaches beyond the frame, which is {width} wide and {height} high")
    title = f"{clip}, frame {number}"
    if args.row is not None:
        if not 0 <= args.row < height:
            raise UserError(f"--row {args.row}: the frames have rows 0 to {height - 1}")
        columns = slice(None) if region is None else slice(region.x, region.x + region.width)
        profiles = {rendition.name: temporal_profile(rendition, args.row, columns) for rendition in renditions}
        title += f", row {args.row}"
        draw_profiles(args.output, title, next(iter(images.values())), args.row, columns, profiles)
    else:
        truth = images.get("GT")
        networks = [images[rendition.name] for rendition in renditions[-len(tests) - len(others) :]]
        compared = networks if len(networks) > 1 else [images["bicubic"], *networks]
        region = region or most_different(compared, truth, min(size[0], height), min(size[1], width))
        title += f", region {region}"
        draw_crops(args.output, title, images, truth, region, _y_channel(tests[0]))
    sys.stdout.write(f"{args.output}: {title}\n")
    return 0


def _images(renditions: "list[Rendition]", number: int) -> "dict[str, Image]":
    """A frame by each method; all of one size."""
    images = {rendition.name: rendition.frame(number) for rendition in renditions}
    (first, image), *rest = images.items()
    for name, other in rest:
        if other.shape != image.shape:
            sizes = " and ".join(f"{shape[1]}x{shape[0]}" for shape in (other.shape, image.shape))
            raise UserError(f"{name} and {first} have frames of {sizes}; they must be of one size")
    return images


def _region(text: str) -> "Region":
    from vsrm_arch.figures.crops import Region

    parts = text.split(",")
    if len(parts) != 4 or not all(part.isdecimal() for part in parts) or not all(map(int, parts[2:])):
        raise UserError(f"--region {text}: expected left, top, width and height, such as 320,180,96,64")
    return Region(*map(int, parts))


def _named_folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise UserError(f"--method {text}: expected NAME=FOLDER, such as RVRT=downloads/RVRT/city")
    if not Path(folder).is_dir():
        raise UserError(f"--method {text}: there is no folder {folder}")
    return name, Path(folder)


def _y_channel(test: TestFile) -> bool:
    """Whether a test's PSNR is that of the Y channel."""
    metrics = (test.options["val"].get("metrics") or {}).values()
    psnr: dict[str, Any] = next((metric for metric in metrics if metric["type"] == "calculate_psnr"), {})
    return bool(psnr.get("test_y_channel"))
