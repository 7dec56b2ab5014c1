"""What the results of a test depend on, so that earlier ones can be taken for those of the same test, or not."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vsrm_arch.models.saving import save

__all__ = ["is_made_by", "recipe", "write_recipe"]

# Beside the results on a data set.
_FILE = "recipe.json"
# Keys of ``val`` that change what is shown or saved, and not the frames or their figures.
_SHOWN = {"save_img", "save_comparison", "comparison_frame", "suffix", "pbar", "val_freq"}


def recipe(options: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """What the results on a data set depend on.

    Args:
        options: Of a test, checked.
        dataset: The data set's name.

    Returns:
        Plain values, as JSON holds them: the data set, the network, the file of its weights with size and time, and
        ``val`` but for what is shown.
    """
    section = next((section for section in options["datasets"].values() if section["name"] == dataset), None)
    weights = options["path"].get("pretrain_network_g")
    file = None if weights is None or not Path(weights).is_file() else Path(weights).stat()
    content = {
        "dataset": section,
        "network_g": options["network_g"],
        "scale": options["scale"],
        "weights": [weights, options["path"].get("param_key_g"), file and file.st_size, file and file.st_mtime_ns],
        "val": {key: value for key, value in (options.get("val") or {}).items() if key not in _SHOWN},
    }
    plain: dict[str, Any] = json.loads(json.dumps(content, default=str))
    return plain


def write_recipe(folder: Path, options: Mapping[str, Any], dataset: str) -> None:
    """Leaves the recipe beside the results on a data set.

    Raises:
        UserError: If it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / _FILE, json.dumps(recipe(options, dataset), indent=1).encode())


def is_made_by(folder: Path, options: Mapping[str, Any], dataset: str) -> bool:
    """Whether the results in a folder are those of these options."""
    try:
        left = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(left == recipe(options, dataset))
