"""The model, registered in BasicSR's MODEL_REGISTRY: training, validation, checkpoints."""

from vsrm_arch.models.checkpoints import load_resume_state
from vsrm_arch.models.options import RecurrentVSROptions
from vsrm_arch.models.recurrent_vsr_model import RecurrentVSRModel

__all__ = ["RecurrentVSRModel", "RecurrentVSROptions", "load_resume_state"]
