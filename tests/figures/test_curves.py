import math

import pytest
from torch.utils.tensorboard import SummaryWriter

from vsrm_arch.errors import UserError
from vsrm_arch.figures import Curve, read_curves, smoothed
from vsrm_arch.figures.curves import choose_tags, default_tags, draw, write_curves

LOSS = "losses/l_pix"
TAGS = [LOSS, "losses/l_freq", "grad_norm", "metrics/a/psnr", "metrics/a/psnr/clip", "metrics/a/ssim"]


def write_events(folder, started, events):
    """An event file of a training that started at that second; events: tag → iteration → value."""
    with SummaryWriter(folder / "new") as writer:
        for tag, values in events.items():
            for iteration, value in values.items():
                writer.add_scalar(tag, value, iteration)
    (written,) = (folder / "new").iterdir()
    path = folder / f"events.out.tfevents.{started:010}.host"
    written.rename(path)
    return path


class TestReading:
    def test_all_scalars(self, tmp_path):
        many = {i: i / 2 for i in range(1, 12_001)}
        write_events(tmp_path, 0, {LOSS: many, "metrics/a/psnr": {5: math.inf}})
        assert read_curves("one", tmp_path) == [
            Curve("one", LOSS, list(many), list(many.values())),
            Curve("one", "metrics/a/psnr", [5], [math.inf]),
        ]

    def test_a_training_that_was_resumed(self, tmp_path):
        write_events(tmp_path, 9, {LOSS: dict.fromkeys(range(1, 9), 1), "metrics/a/psnr": {4: 1}})
        write_events(tmp_path, 10, {LOSS: {5: 2, 6: 2, 7: 2}, "metrics/a/psnr": {4: 2, 6: 2}})
        write_events(tmp_path, 11, {LOSS: {7: 3}, "grad_norm": {7: 3}})
        assert read_curves("one", tmp_path) == [
            Curve("one", LOSS, [1, 2, 3, 4, 5, 6, 7], [1, 1, 1, 1, 2, 2, 3]),
            Curve("one", "metrics/a/psnr", [4, 6], [2, 2]),
            Curve("one", "grad_norm", [7], [3]),
        ]

    def test_a_file_that_is_cut_short(self, tmp_path):
        cut = write_events(tmp_path, 0, {LOSS: {1: 1, 2: 1, 3: 1}})
        write_events(tmp_path, 1, {LOSS: {4: 2}})
        cut.write_bytes(cut.read_bytes()[:-5])
        assert read_curves("one", tmp_path) == [Curve("one", LOSS, [1, 2, 4], [1, 1, 2])]

    def test_no_events(self, tmp_path):
        assert read_curves("one", tmp_path) == []
        (tmp_path / "events.out.tfevents.0").write_bytes(b"something else")
        assert read_curves("one", tmp_path) == []


class TestTags:
    def test_default(self):
        assert default_tags(TAGS) == [LOSS, "losses/l_freq", "metrics/a/psnr", "metrics/a/ssim"]
        # As BasicSR's own video models name them.
        assert default_tags(["metrics/psnr", "metrics/psnr/000"]) == ["metrics/psnr"]

    def test_chosen(self):
        assert choose_tags(TAGS, ["metrics/*/psnr", "*", "grad_norm"]) == [
            "metrics/a/psnr",
            *(tag for tag in TAGS if tag != "metrics/a/psnr"),
        ]
        assert choose_tags(["a[1]", "a1"], ["a[1]"]) == ["a[1]", "a1"]

    def test_unknown(self):
        with pytest.raises(UserError, match=r"^--tag loses/\*: no .* logged it; did you mean 'losses/l_pix'\?$"):
            choose_tags(TAGS, ["losses/*", "loses/*"])
        with pytest.raises(UserError, match=f"known: {', '.join(sorted(TAGS))}$"):
            choose_tags(TAGS, ["x"])


class TestSmoothing:
    def test_by_hand(self):
        assert smoothed([1, 3, 2], 0.5) == pytest.approx([1, 7 / 3, 15 / 7])

    @pytest.mark.parametrize("weight", [0, 0.6, 0.999])
    def test_of_what_does_not_change(self, weight):
        assert smoothed([7.0] * 50, weight) == pytest.approx([7.0] * 50)

    def test_off(self):
        assert smoothed([1, 3, 2], 0) == [1, 3, 2]

    def test_what_is_not_finite(self):
        assert smoothed([1, math.inf, 3], 0.5) == pytest.approx([1, math.inf, 7 / 3])


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


class TestPicture:
    CURVES = (
        Curve("one", LOSS, [1, 2, 3], [1, 3, 2]),
        Curve("one", "metrics/a/psnr", [2, 3], [26, 27]),
        Curve("two", LOSS, [1, 2], [2, 2]),
        Curve("two", "metrics/a/psnr", [2], [25]),
        Curve("three", "grad_norm", [1], [1]),
    )

    @pytest.fixture
    def figures(self, monkeypatch):
        """The figures that are saved."""
        from matplotlib.figure import Figure

        saved = []
        save = Figure.savefig
        monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (saved.append(self), save(self, *a, **k)))
        return saved

    def test_lines(self, tmp_path, figures):
        draw(tmp_path / "a.svg", self.CURVES, [LOSS, "metrics/a/psnr"], 0.5)
        assert (tmp_path / "a.svg").read_text(encoding="utf-8").count("</svg>") == 1
        (figure,) = figures
        loss, psnr = figure.axes
        assert [axes.get_title() for axes in (loss, psnr)] == [LOSS, "metrics/a/psnr"]
        assert [axes.get_xlabel() for axes in (loss, psnr)] == ["iteration", "iteration"]
        assert [axes.get_ylabel() for axes in (loss, psnr)] == ["", "dB"]
        raw, smooth, *second = loss.get_lines()
        assert (list(raw.get_ydata()), raw.get_alpha()) == ([1, 3, 2], 0.25)
        assert list(smooth.get_ydata()) == pytest.approx([1, 7 / 3, 15 / 7])
        assert len(second) == 2
        points, other = psnr.get_lines()
        assert (list(points.get_xdata()), list(points.get_ydata()), points.get_marker()) == ([2, 3], [26, 27], "o")
        assert raw.get_color() == smooth.get_color() == points.get_color() != other.get_color()
        # What has no line here has no name.
        assert legend(figure) == ["one", "two"]

    def test_not_smoothed(self, tmp_path, figures):
        draw(tmp_path / "a.png", self.CURVES, [LOSS], 0)
        lines = figures[0].axes[0].get_lines()
        assert [list(line.get_ydata()) for line in lines] == [[1, 3, 2], [2, 2]]
        assert [line.get_alpha() for line in lines] == [None, None]

    def test_the_legend_keeps_the_order_of_the_trainings(self, tmp_path, figures):
        draw(tmp_path / "a.png", self.CURVES, ["grad_norm", LOSS], 0.5)
        assert legend(figures[0]) == ["one", "two", "three"]

    def test_a_single_value_is_seen(self, tmp_path, figures):
        draw(tmp_path / "a.png", self.CURVES, ["grad_norm"], 0.5)
        (line,) = figures[0].axes[0].get_lines()
        assert line.get_marker() == "o"

    def test_many_panels_and_trainings(self, tmp_path, figures):
        tags = [f"losses/{i}" for i in range(5)]
        curves = [Curve(f"run{i}", tag, [1, 2], [i, i]) for i in range(12) for tag in tags]
        draw(tmp_path / "a.pdf", curves, tags, 0)
        assert [axes.get_title() for axes in figures[0].axes] == tags
        styles = {(line.get_color(), line.get_linestyle()) for line in figures[0].axes[4].get_lines()}
        assert len(styles) == 12


def test_numbers(tmp_path):
    write_curves(tmp_path / "a.csv", [Curve("one, two", LOSS, [1, 20], [0.5, math.inf])])
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines() == [
        "run,tag,iteration,value",
        f'"one, two",{LOSS},1,0.5',
        f'"one, two",{LOSS},20,inf',
    ]
