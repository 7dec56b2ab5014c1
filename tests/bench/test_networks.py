import pytest
import torch

from vsrm_arch.bench import timing
from vsrm_arch.bench.network_files import read_networks
from vsrm_arch.bench.networks import bench_networks
from vsrm_arch.config import OptionError

CPU = torch.device("cpu")
WRONG_SHAPE = "failed: the output is (1, 2, 3, 8, 8), expected (1, 3, 3, 8, 8): see the file's scale"
SHORT = {"device": CPU, "num_frames": 3, "repeats": 2, "warmup": 0}


@pytest.fixture(autouse=True)
def _a_run_a_sample(monkeypatch):
    monkeypatch.setattr(timing, "_SHORTEST_SAMPLE_MS", 0.0)


class TestReading:
    def test_the_network_alone_counts(self, option_file):
        (file,) = read_networks([option_file(more="train: {compile: true, mistyped: 1}\n", spynet_path="missing.pth")])
        assert (file.name, file.scale, file.compiled) == ("tiny", 2, True)
        assert file.options == {"type": "Doubling", "spynet_path": None}
        assert file.count_parameters() == 3 * 12 * 9 + 12 + 12 * 12 + 12

    def test_files_of_one_name_are_told_apart(self, option_file):
        paths = [option_file("a/net"), option_file("b/net"), option_file("other")]
        assert [file.name for file in read_networks(paths)] == [*paths[:2], "other"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("scale: 2\n", r"x\.yml: network_g: missing, or without a type"),
            ("network_g: {embed_dim: 8}\n", r"x\.yml: network_g: missing, or without a type"),
            ("network_g: {type: VSRN}\n", r"x\.yml: network_g\.type: no network named 'VSRN' .*did you mean 'VSRM'"),
            ("network_g: {type: VSRM, embed_dims: 8}\n", r"x\.yml: network_g: unknown key 'embed_dims'; did you mean"),
            ("network_g: {type: Bicubic}\nscale: 0\n", r"x\.yml: scale: expected an integer from 1, got 0"),
        ],
    )
    def test_faults(self, tmp_path, text, message):
        path = tmp_path / "x.yml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(OptionError, match=message):
            read_networks([str(path)])

    def test_no_such_file(self, tmp_path):
        with pytest.raises(OptionError, match=r"none\.yml: no such option file"):
            read_networks([str(tmp_path / "none.yml")])


class TestRows:
    def test_of_every_size_network_and_dtype(self, option_file, ceilings):
        files = read_networks([option_file("one"), option_file("two", width=2)])
        rows = bench_networks(files, [(4, 6), (8, 8)], ["float32", "bf16"], ceilings, **SHORT)
        assert [(row.size, row.network, row.dtype) for row in rows] == [
            (size, name, dtype) for size in ("4x6", "8x8") for name in ("one", "two") for dtype in ("float32", "bf16")
        ]
        for row in rows:
            assert (row.status, row.mode, row.batch, row.frames, len(row.samples)) == ("ok", "forward", 1, 3, 2)
            assert row.ms_lower <= row.ms <= row.ms_upper
            assert row.peak_gib is row.first_peak_gib is None

    def test_figures_by_hand(self, option_file, ceilings):
        (file,) = read_networks([option_file()])
        macs = 4 * 6 * (12 * 27 + 12 * 12)
        forward, train = (
            bench_networks([file], [(4, 6)], ["float32"], ceilings, **SHORT, batch=2, train=train)[0]
            for train in (False, True)
        )
        assert forward.gmac == forward.needed_gmac == pytest.approx(macs * 1e-9)
        assert forward.scan_gop == 0
        assert forward.matrix_share == pytest.approx(2 * macs / (forward.ms * 1e-3) / 1e12)
        # ms are those of the whole step of two clips of three frames.
        assert train.matrix_share == pytest.approx(3 * 2 * macs * 6 / (train.ms * 1e-3) / 1e12)
        assert (train.mode, train.status) == ("train", "ok")

    @pytest.mark.parametrize("dtype", ["float32", "bf16", "fp16"])
    def test_training_step(self, option_file, ceilings, dtype):
        options = {"embed_dim": 8, "num_damb": 1, "num_s2tmb": 1, "flow_network": "none", "checkpoint": "true"}
        files = read_networks([option_file(type="VSRM", scale=4, **options)])
        (row,) = bench_networks(files, [(8, 8)], [dtype], ceilings, **SHORT, train=True)
        assert row.status == "ok"

    @pytest.mark.parametrize(
        ("network", "status"),
        [
            ({"fault": "memory"}, "out of memory"),
            ({"fault": "memory", "after": 3}, "out of memory"),
            ({"fault": "error"}, "failed: sides must be even"),
            ({"fault": "nan"}, "failed: the output is not finite"),
            (
                {"fault": "shape"},
                WRONG_SHAPE,
            ),
        ],
    )
    def test_a_network_that_fails_has_a_row_that_says_so(self, option_file, ceilings, network, status):
        files = read_networks([option_file("bad", **network), option_file("good")])
        bad, good = bench_networks(files, [(4, 4)], ["float32"], ceilings, **SHORT)
        assert (bad.status, bad.ms, bad.matrix_share, bad.samples) == (status, None, None, ())
        assert (good.status, len(good.samples)) == ("ok", 2)

    def test_nothing_to_train(self, option_file, ceilings):
        files = read_networks([option_file(type="Bicubic")])
        (row,) = bench_networks(files, [(4, 4)], ["float32"], ceilings, **SHORT, train=True)
        assert row.status == "failed: the network has no parameters to train"

    @pytest.mark.slow
    @pytest.mark.timeout(120)
    def test_a_network_of_basicsr(self, option_file, ceilings):
        files = read_networks([option_file(type="BasicVSRPlusPlus", scale=4, mid_channels=8, num_blocks=1)])
        (row,) = bench_networks(files, [(64, 64)], ["float32"], ceilings, **SHORT | {"num_frames": 2, "repeats": 1})
        assert row.status == "ok"
        assert row.gmac > 0
