import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import tiny

from vsrm_arch.models import RecurrentVSRModel


@pytest.fixture
def build(tmp_path):
    """Builds a model from the tiny options, with sections replaced; ``train`` and ``val`` are merged."""

    def build_model(is_train: bool = True, **sections) -> RecurrentVSRModel:
        defaults = tiny.file_options()
        for name in ("train", "val"):
            sections[name] = defaults[name] | sections.get(name, {})
        return RecurrentVSRModel(tiny.model_options(tmp_path, is_train, **sections))

    return build_model
