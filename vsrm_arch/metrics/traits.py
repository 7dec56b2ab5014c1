"""What a validation must know of a metric before it calls it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from basicsr.utils.registry import METRIC_REGISTRY

__all__ = ["better", "prepare", "takes_clips"]


def takes_clips(metric: Mapping[str, Any]) -> bool:
    """Whether a metric is handed lists of frames, and gives a list of values, instead of two frames and one value.

    Such a function has an attribute ``takes_clips = True``.

    Args:
        metric: A section of ``val: metrics``, which may be faulty still.
    """
    return getattr(_function(metric), "takes_clips", False)


def prepare(metric: Mapping[str, Any]) -> None:
    """Loads what a metric needs, so that what is missing is told before anything has run.

    A function that needs something has an attribute ``prepare``, a function of the section.

    Args:
        metric: A section of ``val: metrics``.

    Raises:
        UserError: If something is missing.
    """
    load = getattr(_function(metric), "prepare", None)
    if load is not None:
        load(metric)


def better(metric: Mapping[str, Any]) -> str:
    """Which values are good: ``higher`` or ``lower``.

    Args:
        metric: A section of ``val: metrics``.

    Returns:
        Its ``better``; else the default of the function's argument of that name, if it has one; else ``higher``.
    """
    function = _function(metric)
    parameter = inspect.signature(function).parameters.get("better") if function else None
    return metric.get("better", parameter.default if parameter else "higher")


def _function(metric: Mapping[str, Any]) -> Callable[..., Any] | None:
    return dict(iter(METRIC_REGISTRY)).get(str(metric.get("type")))
