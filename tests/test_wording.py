from vsrm_arch.wording import counted, some


def test_counted():
    assert [counted(number, "clip") for number in (0, 1, 2)] == ["0 clips", "1 clip", "2 clips"]


def test_some():
    assert some([]) == ""
    assert some("abc") == "a, b, c"
    assert some({"a": 1, "b": 2}, shown=1) == "a, …"
