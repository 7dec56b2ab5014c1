"""PSRT-recurrent and IART against what is published of them: names, shapes, counts, and outputs of their code."""

import json

import pytest
import torch
from basicsr.archs import build_network

from vsrm_arch.propagation import BRANCHES

# Network → the stem of its reference files, its parameters, and where its branches stand.
PUBLISHED = {
    "BasicRecurrentSwin": ("psrt_recurrent", 13_366_943, "patch_align"),
    "IART": ("iart", 13_410_503, "swin_backbone"),
}
SMALL = {"embed_dim": 8, "depths": (2,), "num_heads": 2, "window": 4, "upsampler_dim": 4}
UNUSED = ("conv_first", "conv_first_feat", "conv_before_upsample")


@pytest.fixture(params=PUBLISHED)
def name(request):
    return request.param


@pytest.fixture
def references(name, vsrm_data):
    """Stem of the reference files: they lie beside the folder of the real clips."""
    path = vsrm_data.parent / "oracles" / PUBLISHED[name][0]
    if not path.with_name(f"{path.name}_state_dict.json").exists():
        pytest.skip(f"no reference values in {path.parent}")
    return path


def build_full(name):
    with torch.device("meta"):
        return build_network({"type": name})


def published_state(name):
    """Name → shape, without the flow network."""
    _, _, branches = PUBLISHED[name]

    def layer(path, *weight):
        return {f"{path}.weight": weight, f"{path}.bias": weight[:1]}

    state = layer("conv_first", 120, 3, 3, 3) | layer("conv_before_upsample", 64, 120, 3, 3)
    state |= layer("upconv1", 256, 64, 3, 3) | layer("upconv2", 256, 64, 3, 3)
    state |= layer("conv_hr", 64, 64, 3, 3) | layer("conv_last", 3, 64, 3, 3)
    if name == "IART":
        state |= {"implicit_warp.position_bias": (1, 4, 120), "implicit_warp.window_idx_offset": (4, 2)}
        for part in "qkv":
            state |= layer(f"implicit_warp.{part}", 120, 120)
    for branch in (f"{branches}.{branch}" for branch in BRANCHES):
        state |= layer(f"{branch}.conv_first", 120, 3, 3, 3) | layer(f"{branch}.conv_first_feat", 120, 64, 3, 3)
        state |= layer(f"{branch}.patch_embed.norm", 120) | layer(f"{branch}.norm", 120)
        state |= layer(f"{branch}.conv_after_body", 120, 120, 3, 3)
        state |= layer(f"{branch}.conv_before_upsample", 64, 120, 3, 3)
        for group in (f"{branch}.layers.{i}" for i in range(3)):
            state |= layer(f"{group}.conv", 120, 120, 3, 3)
            for block in (f"{group}.residual_group.blocks.{i}" for i in range(6)):
                state |= layer(f"{block}.norm1", 120) | layer(f"{block}.norm2", 120)
                state |= layer(f"{block}.attn.qkv", 360, 120) | layer(f"{block}.attn.proj", 120, 120)
                state |= layer(f"{block}.mlp.fc1", 240, 120) | layer(f"{block}.mlp.fc2", 120, 240)
                state[f"{block}.attn.relative_position_bias_table"] = (1125, 6)
                state[f"{block}.attn.relative_position_index"] = (192, 192)
    return state


def test_parameters_are_those_published(name):
    assert sum(p.numel() for p in build_full(name).parameters()) == PUBLISHED[name][1]


def test_state_dict_is_the_published_one(name):
    state = build_full(name).state_dict()
    ours = {key: tuple(value.shape) for key, value in state.items() if not key.startswith("spynet.")}
    assert ours == published_state(name)


@pytest.mark.data
def test_state_dict_is_that_of_the_published_checkpoint(name, references):
    published = json.loads(references.with_name(f"{references.name}_state_dict.json").read_text(encoding="utf-8"))
    network = build_full(name)
    parameters = dict(network.named_parameters())
    ours = {
        key: {"shape": list(value.shape), "dtype": str(value.dtype)[6:], "parameter": key in parameters}
        for key, value in network.state_dict().items()
    }
    assert ours == published["state_dict"]


@pytest.mark.data
def test_output_is_that_of_the_published_code(name, references, vsrm_data):
    reference = torch.load(references.with_name(f"{references.name}_small.pth"), weights_only=True)
    spynet = str(vsrm_data / "weights" / "spynet_sintel_final.pth")
    shape = {"embed_dim": 24, "depths": (2, 2), "num_heads": 2, "upsampler_dim": 16}
    network = build_network({"type": name, "spynet_path": spynet, **shape}).eval()
    missing, unexpected = network.load_state_dict(reference["params"], strict=False)
    constants = dict(network.named_buffers())
    assert [key for key in missing if key not in constants and not key.startswith("spynet.")] == unexpected == []
    with torch.no_grad():
        output = network(reference["input"])
    expected = reference["output"].float()
    # The reference is stored in float16, rounded by up to half a unit in its last place.
    rounding = 2.0 ** (expected.frexp().exponent.clamp(min=-13) - 12)
    span = expected.max() - expected.min()
    assert ((output - expected).abs() - rounding).max() < 5e-5 * span


def test_only_what_gets_no_gradient_is_frozen(name):
    network = build_network({"type": name, **SMALL})
    frozen = {key for key, p in network.named_parameters() if not p.requires_grad}
    branches = PUBLISHED[name][2]
    expected = {
        f"{branches}.{branch}.{layer}.{kind}" for branch in BRANCHES for layer in UNUSED for kind in ("weight", "bias")
    }
    if name == "BasicRecurrentSwin":
        expected |= {f"spynet.{key}" for key, _ in network.spynet.named_parameters()}
    assert frozen == expected


@pytest.mark.parametrize("checkpoint", [True, ["backward_1", "forward_2"]])
def test_checkpointing_changes_no_output_and_no_gradient(name, checkpoint):
    plain = build_network({"type": name, **SMALL})
    saving = build_network({"type": name, **SMALL, "checkpoint": checkpoint})
    saving.load_state_dict(plain.state_dict())
    lq = torch.rand(1, 4, 3, 8, 8)
    for network in (plain, saving):
        network(lq).square().mean().backward()
    gradients = {key: p.grad for key, p in plain.named_parameters()}
    for key, p in saving.named_parameters():
        torch.testing.assert_close(p.grad, gradients[key], msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        *(({key: 0}, f"{key} is 0; it must be at least 1") for key in SMALL if key != "depths"),
        ({"depths": (2, 0)}, r"depths\[1\] is 0; it must be at least 1"),
        ({"num_heads": 3}, "embed_dim is 8; it must be a multiple of num_heads, 3"),
        ({"checkpoint": ["sideways"]}, "checkpoint: no branch sideways; the branches are backward_1, forward_1"),
    ],
)
def test_arguments_that_cannot_be(name, values, message):
    with pytest.raises(ValueError, match=message):
        build_network({"type": name, **SMALL, **values})


def test_an_odd_number_of_channels_cannot_be_encoded():
    with pytest.raises(ValueError, match="embed_dim is 9; it must be even"):
        build_network({"type": "IART", **SMALL, "embed_dim": 9, "num_heads": 3})
