"""Speed, memory and multiply-adds, measured side by side: what ``basicsr bench`` runs."""

from vsrm_arch.bench.ceilings import Ceilings, measure_ceilings
from vsrm_arch.bench.environment import environment
from vsrm_arch.bench.films import STAGES, FilmRow, bench_films
from vsrm_arch.bench.macs import Macs, count_macs
from vsrm_arch.bench.network_files import NetworkFile, check_count, read_networks
from vsrm_arch.bench.networks import NetworkRow, bench_networks
from vsrm_arch.bench.ops import OpRow, bench_ops
from vsrm_arch.bench.workloads import WORKLOADS

__all__ = [
    "STAGES",
    "WORKLOADS",
    "Ceilings",
    "FilmRow",
    "Macs",
    "NetworkFile",
    "NetworkRow",
    "OpRow",
    "bench_films",
    "bench_networks",
    "bench_ops",
    "check_count",
    "count_macs",
    "environment",
    "measure_ceilings",
    "read_networks",
]
