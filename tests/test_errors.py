"""vsrm_arch.errors: what is left of a message that a loader's worker hands over, and of one of many lines."""

import pytest
from torch.utils.data import DataLoader

from vsrm_arch.config import OptionError
from vsrm_arch.data.errors import DataError
from vsrm_arch.errors import UserError, first_line


class Broken:
    """Items that raise."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise self.error


@pytest.mark.parametrize("kind", [UserError, DataError, OptionError])
def test_from_a_loaders_worker(kind):
    message = "clip 011: frame 3 is broken; fetch it again"
    with pytest.raises(kind) as caught:
        next(iter(DataLoader(Broken(kind(message)), num_workers=1)))
    assert str(caught.value) == message


def test_a_plain_message_stays_as_it_is():
    assert str(UserError("a.yml: UserError: no")) == "a.yml: UserError: no"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one"), "one"),
        (ValueError("\n one\ntwo"), "one"),
        (ValueError(), "ValueError"),
        (KeyboardInterrupt(" \n"), "KeyboardInterrupt"),
    ],
)
def test_first_line(error, line):
    assert first_line(error) == line
