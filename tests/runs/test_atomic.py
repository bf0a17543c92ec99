"""Files are whole or absent, whatever happens while they are written."""

import os

import numpy as np
import pytest

from dilsearch.errors import RunError
from dilsearch.runs import write_atomically


def test_text_bytes_and_writers(tmp_path):
    write_atomically(tmp_path / "a" / "text.txt", "é\n")
    write_atomically(tmp_path / "bytes.bin", b"\x00\xff")
    write_atomically(tmp_path / "arrays.npz", lambda path: np.savez(path, x=np.arange(3)))
    assert (tmp_path / "a" / "text.txt").read_bytes() == "é\n".encode()
    assert (tmp_path / "bytes.bin").read_bytes() == b"\x00\xff"
    with np.load(tmp_path / "arrays.npz") as arrays:
        assert arrays["x"].tolist() == [0, 1, 2]
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["arrays.npz", "bytes.bin", "text.txt"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_writer_that_fails_half_way_changes_nothing(tmp_path, failure):
    target = tmp_path / "file.txt"
    write_atomically(target, "before")

    def write(path):
        path.write_text("hal")
        raise failure("half way")

    with pytest.raises(failure, match="half way"):
        write_atomically(target, write)
    assert target.read_text() == "before"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_the_control_a_plain_write_does_leave_half_a_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("before")

    def write():
        with target.open("w") as file:
            file.write("hal")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert target.read_text() == "hal"


def test_a_crash_before_the_rename_keeps_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "file.txt"
    write_atomically(target, "before")

    def crash(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dilsearch.runs.atomic.os.fsync", crash)
    with pytest.raises(RunError, match=r"cannot write .*file\.txt: No space left on device\. Free"):
        write_atomically(target, "after")
    assert target.read_text() == "before"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_content_reaches_the_disk_before_the_name_does(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr("os.fsync", lambda fd: (done.append("fsync"), fsync(fd)))
    monkeypatch.setattr("os.replace", lambda a, b: (done.append("replace"), replace(a, b)))
    write_atomically(tmp_path / "file.txt", "text")
    assert done == ["fsync", "replace", "fsync"]


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        write_atomically(tmp_path / "taken" / "file.txt", "text")
