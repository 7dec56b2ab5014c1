import pytest
import torch


@pytest.fixture
def poisoned_memory():
    """Fills every tensor that PyTorch leaves uninitialised with NaN, so that a forgotten write shows."""
    # What has no deterministic form, such as PyTorch's own sampling on a GPU, may run all the same.
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def deterministic_algorithms():
    """Asks PyTorch for them, strictly."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
