"""Threads about the network: order, errors, ends."""

import threading
import time

import pytest

from vsrm_arch.upscaling.threads import ahead, behind


def names():
    return [thread.name for thread in threading.enumerate()]


class TestAhead:
    @pytest.mark.parametrize("count", [0, 1, 3, 20])
    def test_order(self, count):
        assert list(ahead(iter(range(count)), 4)) == list(range(count))

    def test_an_error_comes_where_its_item_would(self):
        def items():
            yield from (1, 2)
            raise ValueError("broken")

        taken = []

        def take():
            for item in ahead(items(), 8):
                taken.append(item)

        with pytest.raises(ValueError, match="broken"):
            take()
        assert taken == [1, 2]
        assert not [name for name in names() if name.startswith("reading")]

    def test_no_more_than_so_many_are_taken(self):
        taken = []
        items = ahead((taken.append(i) or i for i in range(100)), 3)
        assert next(items) == 0
        # Whoever takes one lets one more be taken.
        deadline = time.monotonic() + 10
        while len(taken) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(taken) == 4
        items.close()

    def test_closing_early_ends_the_thread(self):
        items = ahead(iter(range(1000)), 3)
        assert next(items) == 0
        assert [name for name in names() if name.startswith("reading")]
        items.close()
        assert not [name for name in names() if name.startswith("reading")]


class TestBehind:
    def test_order_and_end(self):
        done = []
        with behind(done.append, 2) as call:
            for i in range(10):
                call(i)
        assert done == list(range(10))
        assert not [name for name in names() if name.startswith("writing")]

    def test_no_more_than_so_many_wait(self):
        go, begun = threading.Event(), []

        def slow(i):
            go.wait(10)
            begun.append(i)

        with behind(slow, 2) as call:
            call(0)
            call(1)
            third = threading.Thread(target=call, args=(2,))
            third.start()
            third.join(0.1)
            assert third.is_alive()
            go.set()
            third.join(10)
            assert not third.is_alive()
        assert begun == [0, 1, 2]

    def test_an_error_reaches_a_later_call_and_nothing_is_called_after_it(self):
        done = []

        def refuse(i):
            if i == 1:
                raise ValueError("full")
            done.append(i)

        def use():
            with behind(refuse, 2) as call:
                for i in range(20):
                    call(i)

        with pytest.raises(ValueError, match="full"):
            use()
        assert done == [0]
        assert not [name for name in names() if name.startswith("writing")]

    def test_the_last_call_s_error(self):
        def refuse():
            raise ValueError("full")

        def use():
            with behind(refuse, 4) as call:
                call()

        with pytest.raises(ValueError, match="full"):
            use()

    def test_what_waits_is_done_when_the_block_fails(self):
        done = []

        def use():
            with behind(done.append, 4) as call:
                for i in range(3):
                    call(i)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            use()
        assert done == [0, 1, 2]
