import torch
from torch import nn

from vsrm_arch.propagation import BRANCHES, propagate, propagate_branch


def _record(log):
    def backbone(clip):
        log.append([float(frame.mean()) for frame in clip.unbind(1)])
        return clip[:, 1] + 100

    return backbone


def _identity(reference, target, flow):
    return reference


def _clip(num_frames):
    return [torch.full((1, 2, 4, 5), float(i)) for i in range(num_frames)], torch.zeros(1, num_frames - 1, 2, 4, 5)


def test_what_the_backbone_sees_forward():
    features, flows = _clip(4)
    log = []
    outputs = propagate_branch(features, flows, _record(log), _identity, backward=False)
    # [last output, current, second last output]; at first the current three times, then zeros for the missing one.
    assert log == [[0, 0, 0], [100, 1, 0], [101, 2, 100], [102, 3, 101]]
    assert [float(x.mean()) for x in outputs] == [100, 101, 102, 103]


def test_what_the_backbone_sees_backward():
    features, flows = _clip(3)
    log = []
    outputs = propagate_branch(features, flows, _record(log), _identity, backward=True)
    assert log == [[2, 2, 2], [102, 1, 0], [101, 0, 102]]
    assert [float(x.mean()) for x in outputs] == [100, 101, 102]


def test_every_branch_gets_the_flow_of_its_direction():
    num_frames = 4
    features = [torch.zeros(1, 1, 8, 8) for _ in range(num_frames)]
    seen = []

    def align(reference, target, flow):
        seen.append(flow[0, :, 4, 4].tolist())
        return reference

    forward = torch.stack([torch.full((2, 8, 8), -float(i + 1)) for i in range(num_frames - 1)]).unsqueeze(0)
    backward = torch.stack([torch.full((2, 8, 8), float(i + 1)) for i in range(num_frames - 1)]).unsqueeze(0) / 10
    propagate(features, forward, backward, {"backward_1": lambda clip: clip[:, 1]}, align)
    composed = [[0.3, 0.3], [0.2, 0.2], [0.5, 0.5], [0.1, 0.1], [0.3, 0.3]]
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(composed))
    seen.clear()
    propagate(features, forward, backward, {"forward_1": lambda clip: clip[:, 1]}, align)
    composed = [[-1.0, -1.0], [-2.0, -2.0], [-3.0, -3.0], [-3.0, -3.0], [-5.0, -5.0]]
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(composed))


def test_each_branch_reads_the_one_before():
    features, flows = _clip(2)
    outputs = propagate(features, flows, flows, {name: _record([]) for name in BRANCHES}, _identity)
    assert [float(x.mean()) for x in outputs] == [400, 401]


def test_checkpointing_keeps_outputs_and_gradients():
    conv = nn.Conv2d(6, 2, 3, padding=1)
    features = [torch.randn(1, 2, 4, 5) for _ in range(4)]
    flows = torch.randn(1, 3, 2, 4, 5)
    results = []
    for checkpointed in ((), BRANCHES):
        outputs = propagate(
            features,
            flows,
            -flows,
            {n: lambda clip: conv(clip.flatten(1, 2)) for n in BRANCHES},
            _identity,
            checkpointed,
        )
        results.append([*outputs, *torch.autograd.grad(torch.stack(outputs).square().sum(), conv.parameters())])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(plain, recomputed, rtol=0, atol=0)


def test_a_clip_of_one_frame():
    outputs = propagate([torch.ones(1, 2, 3, 3)], torch.zeros(1, 0, 2, 3, 3), torch.zeros(1, 0, 2, 3, 3),
                        {"forward_1": _record([])}, _identity)  # fmt: skip
    assert float(outputs[0].mean()) == 101
