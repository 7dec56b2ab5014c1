"""What ``train`` and ``test`` share: BasicSR's pipelines, run from the current folder."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["relative", "run_pipeline"]


def run_pipeline(
    pipeline: Callable[[str], None],
    args: argparse.Namespace,
    what_is_kept: Callable[[dict[str, Any]], str] | None = None,
) -> dict[str, Any]:
    """Runs one of BasicSR's pipelines and leaves the process group behind it.

    Args:
        pipeline: ``train_pipeline`` or ``test_pipeline``.
        args: Flags of :func:`vsrm_arch.config.add_flags`.
        what_is_kept: Given the options, says after Ctrl-C what has been saved.

    Returns:
        The option dict that the pipeline ran with.

    Raises:
        KeyboardInterrupt: With what has been kept as its message.
        UserError: What the pipeline raised.
    """
    from vsrm_arch import config
    from vsrm_arch.distributed import shut_down

    failed = True
    with config.launch(args) as current:
        try:
            pipeline(str(Path.cwd()))
            failed = False
        except KeyboardInterrupt:
            if what_is_kept is None or current.options is None:
                raise
            raise KeyboardInterrupt(what_is_kept(current.options)) from None
        finally:
            shut_down(failed)
    assert current.options is not None
    return current.options


def relative(path: str) -> str:
    """A path as seen from the current folder, where it lies below it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
