"""How a fault in an option file is put into words."""

import difflib
from collections.abc import Iterable

from vsrm_arch.errors import UserError
from vsrm_arch.wording import some

__all__ = ["OptionError", "below", "did_you_mean"]


class OptionError(UserError):
    """An option file, or one of its keys, is not what it should be."""


def below(where: str, key: str) -> str:
    """Where ``key`` stands: ``options/a.yml`` → ``options/a.yml: train`` → ``options/a.yml: train.optim_g``."""
    return f"{where}.{key}" if ": " in where else f"{where}: {key}"


def did_you_mean(name: object, valid: Iterable[str]) -> str:
    """Ends a message about an unknown name with the nearest valid one, or with all of them if none is near."""
    names = sorted(set(valid))
    if not names:
        return "none is known here"
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    if not near:
        lowered = {known.lower(): known for known in names}
        near = [lowered[match] for match in difflib.get_close_matches(str(name).lower(), lowered, n=1, cutoff=0.5)]
    return f"did you mean '{near[0]}'?" if near else f"known: {some(names, shown=20)}"
