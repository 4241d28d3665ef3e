"""Files appear whole or not at all, and damaged ones are called so."""

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flowrl.errors import LibraryError, PlatformError
from flowrl.files import read_arrays, read_lines, write_arrays, write_bytes


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {"scalar": np.int32(3), "flags": np.array([True, False]), "b": np.arange(6.0).reshape(2, 3).T}
    write_arrays(tmp_path / "a.safetensors", arrays)
    back = read_arrays(tmp_path / "a.safetensors")
    for name, value in arrays.items():
        assert back[name].shape == np.shape(value) and back[name].dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(back[name], value)
    assert all(list(read_arrays(tmp_path / "a.safetensors")) == ["b", "flags", "scalar"] for _ in range(20))


def test_a_truncated_file_says_so(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.safetensors", {"x": np.zeros(1000)})
    data = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(data[:500])
    with pytest.raises(LibraryError, match=r"a\.safetensors is damaged"):
        read_arrays(tmp_path / "a.safetensors")


FILL = """
import resource, signal, sys
from pathlib import Path
from flowrl.errors import PlatformError
from flowrl.files import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(Path(sys.argv[1]), b"n" * 5000)
except PlatformError as error:
    print(error)
"""


def test_no_room_for_a_file_leaves_the_old_one_whole(tmp_path: Path) -> None:
    file = tmp_path / "skill.json"
    write_bytes(file, b"old")
    done = subprocess.run([sys.executable, "-c", FILL, str(file)], capture_output=True, text=True, check=True)
    assert "Could not write" in done.stdout and "is unchanged" in done.stdout
    assert file.read_bytes() == b"old" and [path.name for path in tmp_path.iterdir()] == ["skill.json"]


def test_a_full_disk_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_bytes(tmp_path / "f", b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(PlatformError, match=r"the disk is full\. What stood there is unchanged"):
        write_bytes(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_half_written_last_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"a": 1}\n{"a": 2}\n{"a":')
    assert read_lines(tmp_path / "m.jsonl") == [{"a": 1}, {"a": 2}]
    assert read_lines(tmp_path / "none.jsonl") == []
