"""Every workaround for BasicSR 1.4.2, a function each, with the upstream fault it answers.

Importing this module applies them all; it is imported before anything else that touches BasicSR.
"""

import sys
import types

__all__: list[str] = []


def _restore_functional_tensor() -> None:
    """``import basicsr`` fails on torchvision >= 0.17, which dropped ``transforms.functional_tensor``.

    BasicSR 1.4.2 takes one function from there; it lives in ``transforms.functional`` today.
    """
    from torchvision.transforms import functional

    name = "torchvision.transforms.functional_tensor"
    module = types.ModuleType(name)
    module.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules.setdefault(name, module)


_restore_functional_tensor()
