"""vsrm_arch.files: what is left after an error in the middle of a write."""

import errno
import os

import pytest

from vsrm_arch.files import atomic_path, atomic_write, remedy, remove_partial_files, replace_folder, write_text


class TestAtomicWrite:
    @pytest.mark.parametrize("sync", [True, False])
    def test_content_is_replaced_whole(self, tmp_path, sync):
        path = tmp_path / "a.pth"
        path.write_bytes(b"old")
        with atomic_write(path, sync) as file:
            file.write(b"new")
            assert path.read_bytes() == b"old"
        assert path.read_bytes() == b"new"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize(("sync", "calls"), [(True, 2), (False, 0)])
    def test_sync_of_file_and_folder(self, tmp_path, monkeypatch, sync, calls):
        synced = []
        monkeypatch.setattr(os, "fsync", synced.append)
        with atomic_write(tmp_path / "a", sync):
            pass
        assert len(synced) == calls

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_old_content_stays_after_an_error(self, tmp_path, error):
        path = tmp_path / "a.pth"
        path.write_bytes(b"old")

        def write_half():
            with atomic_write(path) as file:
                file.write(b"new")
                raise error

        with pytest.raises(error):
            write_half()
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_an_error_names_the_file(self, tmp_path):
        def write(path, error=None):
            with atomic_write(path):
                if error is not None:
                    raise error

        with pytest.raises(OSError, match=r"No space left on device: '[^']*/a\.pth'$"):
            write(tmp_path / "a.pth", OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(FileNotFoundError, match=r"No such file or directory: '[^']*nowhere/a'$"):
            write(tmp_path / "nowhere/a")

    def test_left_overs_are_removed(self, tmp_path):
        (tmp_path / ".6.state.partial").write_bytes(b"half")
        (tmp_path / "4.state").write_bytes(b"whole")
        remove_partial_files([tmp_path, tmp_path / "nowhere"])
        assert [path.name for path in tmp_path.iterdir()] == ["4.state"]


class TestAtomicPath:
    def test_content_is_replaced_whole(self, tmp_path):
        path = tmp_path / "a.mp4"
        path.write_bytes(b"old")
        with atomic_path(path) as partial:
            partial.write_bytes(b"new")
            assert path.read_bytes() == b"old"
        assert path.read_bytes() == b"new"
        assert list(tmp_path.iterdir()) == [path]

    def test_old_content_stays_after_an_error(self, tmp_path):
        path = tmp_path / "a.mp4"
        path.write_bytes(b"old")

        def write_half():
            with atomic_path(path) as partial:
                partial.write_bytes(b"half")
                raise OSError(errno.ENOSPC, "No space left on device")

        with pytest.raises(OSError, match=r"No space left on device: '[^']*/a\.mp4'$"):
            write_half()
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_writer_that_wrote_nothing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"'[^']*/a\.mp4'$"), atomic_path(tmp_path / "a.mp4"):
            pass


def test_text_and_its_folder(tmp_path):
    write_text(tmp_path / "a/b.txt", "é\n")
    assert (tmp_path / "a/b.txt").read_bytes() == "é\n".encode()


class TestReplaceFolder:
    @pytest.fixture
    def folders(self, tmp_path):
        """A new folder, and the place of an old one."""
        write_text(tmp_path / "new/file", "new")
        write_text(tmp_path / "place/file", "old")
        return tmp_path / "new", tmp_path / "place"

    def test_the_old_one_goes(self, folders, tmp_path):
        write_text(tmp_path / ".place.old/file", "older")
        replace_folder(*folders)
        assert [path.name for path in tmp_path.iterdir()] == ["place"]
        assert (tmp_path / "place/file").read_text() == "new"

    def test_nothing_there(self, folders, tmp_path):
        replace_folder(folders[0], tmp_path / "elsewhere")
        assert (tmp_path / "elsewhere/file").read_text() == "new"

    def test_the_old_one_comes_back_after_an_error(self, folders, tmp_path):
        with pytest.raises(FileNotFoundError):
            replace_folder(tmp_path / "nowhere", folders[1])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "place"]
        assert (tmp_path / "place/file").read_text() == "old"

    def test_after_a_kill_between_the_two_renames(self, folders, tmp_path):
        folders[1].rename(tmp_path / ".place.old")
        replace_folder(*folders)
        assert [path.name for path in tmp_path.iterdir()] == ["place"]
        assert (tmp_path / "place/file").read_text() == "new"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "mend its permissions or use another folder"),
        (errno.EPERM, "mend its permissions or use another folder"),
        (errno.EROFS, "use a folder that can be written"),
        (errno.ENOTDIR, "move the file in its way"),
        (errno.ENOSPC, "make room"),
        (errno.EIO, "mend that"),
        (None, "mend that"),
    ],
)
def test_remedy(number, words):
    assert remedy(OSError(number, "...")) == words
