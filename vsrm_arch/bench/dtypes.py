"""The dtypes that can be timed, by the names that the command and the option files use."""

import torch

from vsrm_arch.models.options import Precision

__all__ = ["DTYPES", "PRECISIONS"]

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# A network keeps its weights in float32; the others are autocast, as in training and validation.
PRECISIONS: dict[str, Precision] = {"float32": "off", "bf16": "bf16", "fp16": "fp16"}
