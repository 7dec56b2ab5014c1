"""Draw a region of a frame by several networks side by side, as the paper's Fig. 5: GT, bicubic, the networks.

Runs `basicsr test` on each option file and takes the pictures that it saves. With --row it draws a row of pixels over
time instead: steady motion draws smooth lines, flicker frays them.
"""

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsrm_arch.cli.measuring import numbers
from vsrm_arch.cli.testing import TestFile, add_tests, check_needs, read_tests, run_test
from vsrm_arch.errors import UserError

if TYPE_CHECKING:
    from vsrm_arch.figures.crops import Region
    from vsrm_arch.figures.renditions import Given, Image, Rendition

__all__ = ["add_arguments", "run"]

_EPILOG = """The clip, its truth and the kind of PSNR (RGB or Y) are those of the first option file.
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
    parser.add_argument("--dataset", metavar="NAME", help="default: the first of the first option file")
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
    from vsrm_arch.figures.renditions import RESERVED, enlarged_by, given
    from vsrm_arch.figures.temporal_profile import draw_profiles, temporal_profile
    from vsrm_arch.plotting import check_plot

    if not args.opt:
        raise UserError("nothing to compare: name the option files of tests with -opt")
    check_plot(args.output, "-o")
    size = numbers("--size", args.size, count=2, example="64x96")
    region = None if args.region is None else _region(args.region)
    assignments = [*args.force_yml, "val:save_img=true"]
    tests = read_tests(args.opt, assignments, RESERVED)
    folders = _named_folders(args.method, {*RESERVED, *(test.name for test in tests)})
    dataset = _dataset(tests, args.dataset)
    clip = given(tests[0].datasets[dataset], args.clip)
    number = _number(args.frame, clip, tests)
    shown = clip.truth or clip.bicubic
    height, width = shown.frame(number).shape[:2]
    _check_inside(args.row, region, height, width)
    others = [enlarged_by(name, folder, _saved(tests[0], clip.length)) for name, folder in folders.items()]
    networks = [*_tested(tests, dataset, clip, assignments, args.reuse), *others]
    renditions = [*([clip.truth] if clip.truth else []), clip.bicubic, *networks]
    images = _images(renditions, number)
    title = f"{clip.clip}, frame {number}"
    if args.row is not None:
        columns = slice(None) if region is None else slice(region.x, region.x + region.width)
        profiles = {rendition.name: temporal_profile(rendition, args.row, columns) for rendition in renditions}
        title += f", row {args.row}"
        draw_profiles(args.output, title, images[shown.name], args.row, columns, profiles)
    else:
        truth = images[clip.truth.name] if clip.truth else None
        compared = networks if len(networks) > 1 else [clip.bicubic, *networks]
        found = most_different([images[r.name] for r in compared], truth, min(size[0], height), min(size[1], width))
        region = region or found
        title += f", region {region}"
        draw_crops(args.output, title, images, truth, region, _y_channel(tests[0]))
    sys.stdout.write(f"{args.output}: {title}\n")
    return 0


def _tested(
    tests: list[TestFile], dataset: str, clip: "Given", assignments: list[str], reuse: bool
) -> "list[Rendition]":
    """The clip by each test, which runs unless its pictures are known."""
    from vsrm_arch.figures.renditions import enlarged_by

    def pictures(test: TestFile) -> "Rendition":
        suffix = test.val.get("suffix") or test.name
        return enlarged_by(test.name, test.folder(dataset) / clip.clip, _saved(test, clip.length), f"_{suffix}")

    known: dict[str, Rendition] = {}
    for test in tests:
        with suppress(UserError):  # an earlier test that has saved no pictures, or not all
            if reuse and test.is_known(dataset):
                known[test.name] = pictures(test)
    waiting = [test for test in tests if test.name not in known]
    for test in waiting:
        check_needs(test)
    for test in waiting:
        if not run_test(test, assignments):
            raise UserError(f"{test.path}: its test has failed, see above")
        known[test.name] = pictures(test)
    return [known[test.name] for test in tests]


def _saved(test: TestFile, length: int) -> range:
    """The frames of which a test saves pictures."""
    return range(length // 2, length // 2 + 1) if test.val.get("center_frame_only") else range(length)


def _dataset(tests: list[TestFile], name: str | None) -> str:
    """The data set that is shown; all tests must have it."""
    chosen = next(iter(tests[0].datasets)) if name is None else name
    for test in tests:
        if chosen not in test.datasets:
            raise UserError(
                f"{test.path}: has no data set {chosen}, but {', '.join(test.datasets)}; choose one that all tests "
                "have with --dataset"
            )
    return chosen


def _number(frame: int | None, clip: "Given", tests: list[TestFile]) -> int:
    """The frame that is shown; all methods must have it."""
    if frame is None:
        return clip.length // 2
    if not 0 <= frame < clip.length:
        raise UserError(f"--frame {frame}: {clip.clip} has frames 0 to {clip.length - 1}")
    for test in tests:
        if frame not in _saved(test, clip.length):
            raise UserError(
                f"--frame {frame}: {test.path} saves frame {clip.length // 2} of {clip.clip} alone; leave --frame out, "
                "or set val:center_frame_only=false"
            )
    return frame


def _check_inside(row: int | None, region: "Region | None", height: int, width: int) -> None:
    if region is not None and not (region.x + region.width <= width and region.y + region.height <= height):
        raise UserError(f"--region {region}: reaches beyond the frame, which is {width} wide and {height} high")
    if row is not None and not 0 <= row < height:
        raise UserError(f"--row {row}: the frames have rows 0 to {height - 1}")


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


def _named_folders(texts: list[str], taken: set[str]) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for text in texts:
        name, _, folder = text.partition("=")
        if not name or not folder:
            raise UserError(f"--method {text}: expected NAME=FOLDER, such as RVRT=downloads/RVRT/city")
        if name in taken or name in folders:
            raise UserError(f"--method {text}: something else is called {name}; give it another name")
        if not Path(folder).is_dir():
            raise UserError(f"--method {text}: there is no folder {folder}")
        folders[name] = Path(folder)
    return folders


def _y_channel(test: TestFile) -> bool:
    """Whether a test's PSNR is that of the Y channel."""
    metrics = (test.val.get("metrics") or {}).values()
    psnr: dict[str, Any] = next((metric for metric in metrics if metric["type"] == "calculate_psnr"), {})
    return bool(psnr.get("test_y_channel"))
