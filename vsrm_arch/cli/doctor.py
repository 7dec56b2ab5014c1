"""Say what is installed, what will be used, and what is wrong.

Looks at versions, devices, the backends of the ops, the folders of the current directory and the weights of the optical
flow. Each fault is printed with its remedy. The exit status is 0 if training is possible, 1 if not.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from vsrm_arch.cli.diagnosis import OPTIONAL, Device, Report, examine
from vsrm_arch.ops import BackendInfo

__all__ = ["add_arguments", "render", "run"]

_GIB = 2**30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json``."""
    parser.add_argument("--json", action="store_true", help="print the report as JSON, sizes in bytes")
    parser.epilog = "examples:\n  basicsr doctor\n  basicsr doctor --json | python -m json.tool"


def run(args: argparse.Namespace) -> int:
    """Prints the report.

    Args:
        args: Of :func:`add_arguments`.

    Returns:
        0 if training is possible, else 1.
    """
    report = examine(Path.cwd())
    if args.json:
        text = json.dumps({**dataclasses.asdict(report), "usable": report.usable}, indent=2)
    else:
        text = render(report)
    sys.stdout.write(f"{text}\n")
    return 0 if report.usable else 1


def render(report: Report) -> str:
    """The report as text, a fact a line, the problems last."""
    lines = ["versions"]
    for name, version in report.versions.items():
        missing = f"not installed ({OPTIONAL.get(name, 'required')})"
        lines.append(f"  {name:15}{version or missing}")
    lines.append("devices")
    lines += [f"  {_device_text(device)}" for device in report.devices]
    lines.append("backends")
    lines += [f"  {_backend_text(info)}" for info in report.backends]
    lines.append("tools")
    lines += [f"  {name:15}{found or 'not found'}" for name, found in report.tools.items()]
    lines.append("files")
    lines += [f"  {name:15}{state}" for name, state in report.folders.items()]
    lines.append(f"  {'free disk':15}{report.free_disk / _GIB:.1f} GiB")
    lines.append(f"  {'flow weights':15}{', '.join(report.flow_weights) or 'not found'}")
    lines.append("problems" if report.problems else "no problems found")
    for problem in report.problems:
        lines.append(f"  {'error' if problem.fatal else 'note'}: {problem.what}")
        lines.append(f"    remedy: {problem.remedy}")
    return "\n".join(lines)


def _device_text(device: Device) -> str:
    parts = [f"{device.name:15}{device.model}"]
    if device.memory is not None:
        free = "" if device.free_memory is None else f", {device.free_memory / _GIB:.1f} free"
        parts.append(f"{device.memory / _GIB:.1f} GiB{free}")
    if device.capability is not None:
        parts.append(f"compute capability {device.capability}")
    parts.append("bf16" if device.bf16 else "no bf16")
    return ", ".join(parts)


def _backend_text(info: BackendInfo) -> str:
    state = "used" if info.chosen and info.available else "available" if info.available else "not available"
    return f"{info.op:18}{info.device_type:6}{info.backend:16}{state}{f' ({info.reason})' if info.reason else ''}"
