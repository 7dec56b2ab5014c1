"""The build backend: hatchling, and a wheel of BasicSR for a pip that cannot build one.

Before 23.1, as a new environment of Python 3.10 has it, pip runs BasicSR's setup.py outside of any build environment,
and that fails on the requirements of today's PyTorch. A newer pip, brought along for the build, makes the wheel then,
and the metadata that the old one reads name its file.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path


def _called_by_old_pip():
    """Whether what runs this is a file of a pip before 23.1."""
    package = next((folder for folder in Path(sys.argv[0]).parents if folder.name == "pip"), None)
    version = package and re.search(r"__version__ = .(\d+)\.(\d+)", (package / "__init__.py").read_text("utf-8"))
    return bool(version) and tuple(map(int, version.groups())) < (23, 1)


_OLD_PIP = _called_by_old_pip()
if _OLD_PIP:
    # Where it sees this, hatchling offers no metadata without a build.
    os.environ.pop("PIP_BUILD_TRACKER", None)

from hatchling.build import *  # noqa: E402, F403

if _OLD_PIP:
    from hatchling.build import prepare_metadata_for_build_editable as _editable_metadata
    from hatchling.build import prepare_metadata_for_build_wheel as _wheel_metadata

    def prepare_metadata_for_build_editable(metadata_directory, config_settings=None):
        """As PEP 660 defines it."""
        return _name_wheel(metadata_directory, _editable_metadata(metadata_directory, config_settings))

    def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
        """As PEP 517 defines it."""
        return _name_wheel(metadata_directory, _wheel_metadata(metadata_directory, config_settings))


def _name_wheel(directory, dist_info):
    metadata = Path(directory, dist_info, "METADATA")
    text = metadata.read_text(encoding="utf-8")
    line = re.search(r"^Requires-Dist: (basicsr==[\d.]+).*$", text, re.MULTILINE)
    metadata.write_text(text.replace(line[0], f"Requires-Dist: basicsr @ {_build(line[1])}"), encoding="utf-8")
    return dist_info


def _build(requirement):
    folder = tempfile.mkdtemp(prefix="vsrm-arch-")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--use-pep517", "--wheel-dir", folder, requirement]
    subprocess.run(command, check=True)
    return next(Path(folder).glob("*.whl")).as_uri()
