"""CUDA graphs of the propagation's steps."""

from vsrm_arch.graphs.recorder import CudaRecorder, Recorder
from vsrm_arch.graphs.step_graphs import StepGraphs

__all__ = ["CudaRecorder", "Recorder", "StepGraphs"]
