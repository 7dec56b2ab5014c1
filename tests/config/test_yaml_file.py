"""Option files: what is read, what is refused, and in which words."""

from pathlib import Path

import pytest

from vsrm_arch import config
from vsrm_arch.config import OptionError


def write(folder, text, name="a.yml"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


class TestLoadYaml:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("2e-4", 2e-4),
            ("1E3", 1e3),
            ("!!float 2e-4", 2e-4),
            ("!!float 1", 1.0),
            (".5", 0.5),
            ("-3", -3),
            ("300000", 300000),
            ("~", None),
            ("", None),
            ("true", True),
            ("False", False),
            ("off", "off"),
            ("yes", "yes"),
            ("011", "011"),
            ("000", "000"),
            ("1:30", "1:30"),
            ("2024-01-31", "2024-01-31"),
            ("[0.9, 0.99]", [0.9, 0.99]),
            ("{a: 1}", {"a": 1}),
            ("'12'", "12"),
            ("1e", "1e"),
            ("a=b", "a=b"),
        ],
    )
    def test_a_value(self, tmp_path, text, value):
        read = config.load_yaml(write(tmp_path, f"key: {text}\n"))["key"]
        assert read == value
        assert type(read) is type(value)

    def test_merged_keys_give_way_to_explicit_ones(self, tmp_path):
        text = "base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  b: 3\n"
        assert config.load_yaml(write(tmp_path, text))["other"] == {"a": 1, "b": 3}

    def test_accepts_a_byte_order_mark(self, tmp_path):
        assert config.load_yaml(write(tmp_path, "\ufeffname: x\n")) == {"name": "x"}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "a.yml: the option file is empty"),
            ("# only a comment\n", "a.yml: the option file is empty"),
            ("- a\n- b\n", "a.yml: the option file holds a list, not sections"),
            ("just words\n", "a.yml: the option file holds the single value 'just words', not sections"),
            ("a: 1\nb:\n\tc: 2\n", "a.yml:3: a tab character; indent with spaces"),
            ("a: 1\nb: 2\na: 3\n", "a.yml:3: duplicate key 'a'"),
            ("a: {b: 1, b: 2}\n", "a.yml:1: duplicate key 'b'"),
            ("a: [1, 2\nb: 3\n", "a.yml:2: expected ',' or ']'"),
            ("a: b: c\n", "a.yml:1: mapping values are not allowed here"),
            ("3: x\n", "a.yml:1: the key 3 is not a name"),
            ("a: &x [*x]\n", "a.yml:1: found unconstructable recursive node"),
            ("a: !!float fast\n", "does not fit its tag"),
            ("a: *nothing\n", "a.yml:1: found undefined alias 'nothing'"),
            ("a: 1\n---\nb: 2\n", "a.yml:2: but found another document"),
        ],
    )
    def test_refuses(self, tmp_path, text, message):
        with pytest.raises(OptionError) as error:
            config.load_yaml(write(tmp_path, text))
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        "text",
        [
            "a: !!python/object/apply:os.system ['touch {pwned}']\n",
            "a: !!python/object/new:os.system ['touch {pwned}']\n",
            "a: !!python/name:os.system\n",
            "a: !!python/tuple [1, 2]\n",
            "? !!python/object/apply:os.system ['touch {pwned}']\n: 1\n",
            "a: !!binary aGVsbG8=\n",
            "a: !local 1\n",
        ],
    )
    def test_constructs_no_objects(self, tmp_path, text):
        pwned = tmp_path / "pwned"
        with pytest.raises(OptionError, match=r"a\.yml:1: the tag !\S+ is refused: an option file holds plain values"):
            config.load_yaml(write(tmp_path, text.replace("{pwned}", str(pwned))))
        assert not pwned.exists()

    def test_a_missing_file_names_its_neighbours(self, tmp_path):
        write(tmp_path, "a: 1\n", "options/train_VSRM_REDS.yml")
        with pytest.raises(OptionError, match=r"train_VSRM_RED\.yml: no such option file; .*train_VSRM_REDS\.yml"):
            config.load_yaml(tmp_path / "options" / "train_VSRM_RED.yml")
        with pytest.raises(OptionError, match=r"no such option file; .*train_VSRM_REDS\.yml"):
            config.load_yaml(tmp_path / "option" / "train_VSRM_RED.yml")

    def test_a_missing_file_of_a_folder_below(self, tmp_path, monkeypatch):
        for name in (".hidden.yml", ".folder/train.yml", "clone/options/sample/train.yml", "a.yml", "b.yml"):
            write(tmp_path, "a: 1\n", name)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(OptionError, match=r"no such option file; there is clone/options/sample/train\.yml and"):
            config.load_yaml("options/sample/train.yml")

    def test_a_missing_file_without_neighbours(self, tmp_path):
        with pytest.raises(OptionError, match=r"nor is there any \*\.yml in or below"):
            config.load_yaml(tmp_path / "a.yml")

    def test_a_folder_is_no_file(self, tmp_path):
        with pytest.raises(OptionError, match="cannot be read: Is a directory"):
            config.load_yaml(tmp_path)

    def test_a_binary_is_no_option_file(self, tmp_path):
        path = tmp_path / "net.pth"
        path.write_bytes(b"PK\x03\x04\x80\xff\xfe")
        with pytest.raises(OptionError, match="it is no UTF-8 text"):
            config.load_yaml(path)
        path.write_bytes(b"PK\x03\x04\x00")
        with pytest.raises(OptionError, match="not an option file"):
            config.load_yaml(path)


class TestParseValue:
    @pytest.mark.parametrize(
        ("text", "value"),
        [("none", None), ("None", None), ("~", None), ("a=b", "a=b"), ("1e-4", 1e-4), ("[1, x]", [1, "x"])],
    )
    def test_a_value(self, text, value):
        assert config.parse_value(text, "here") == value

    def test_refuses_objects(self, tmp_path):
        with pytest.raises(OptionError, match=r"here: the tag !!python/object/apply:os\.mkdir is refused"):
            config.parse_value(f"!!python/object/apply:os.mkdir ['{tmp_path}/pwned']", "here")
        assert not (tmp_path / "pwned").exists()


class TestExtends:
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write(
            tmp_path, "name: a\ntrain: {loss: {type: A, eps: 1}, iterations: 2}\nval: {tile: {size: 3}}\n", "base.yml"
        )

    def load(self, text):
        return config.load_yaml(write(Path(), text, "sub/b.yml"))

    def test_sections_are_joined_key_by_key(self):
        values = self.load("extends: base.yml\nname: b\ntrain: {loss: {eps: 4}}\nval: ~\n")
        assert values == {"name": "b", "train": {"loss": {"type": "A", "eps": 4}, "iterations": 2}, "val": None}

    def test_a_section_of_another_type_takes_the_place_of_the_other_s(self):
        values = self.load("extends: base.yml\ntrain: {loss: {type: B}}\n")
        assert values["train"] == {"loss": {"type": "B"}, "iterations": 2}

    def test_what_cannot_be_extended(self):
        with pytest.raises(
            OptionError, match=r"^sub/b\.yml: extends: bse\.yml: no such option file; there is base\.yml"
        ):
            self.load("extends: bse.yml\n")
        with pytest.raises(OptionError, match=r"^sub/b\.yml: extends: expected the path of an option file, got 1$"):
            self.load("extends: 1\n")
        write(Path(), "extends: base.yml\n", "c.yml")
        message = r"^sub/b\.yml: extends: c\.yml extends base\.yml itself; name that one, and set the rest here$"
        with pytest.raises(OptionError, match=message):
            self.load("extends: c.yml\n")
