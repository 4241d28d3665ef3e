"""Words and storage: shares, configuration, whole files, locks, cohorts, the guard against a wrong jax."""

import errno
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrl.config import RunConfig, build_config, option_names
from flowrl.env.flow_env import StepResult
from flowrl.errors import LibraryError, PlatformError, UsageError, nearest_names
from flowrl.files import read_arrays, read_json, read_lines, write_arrays, write_bytes, write_json
from flowrl.jax_runtime import check_jax_version
from flowrl.paths import HomePaths, slug
from flowrl.stats import Share, wilson
from flowrl.training.episode_stats import Progress


def test_wilson_intervals_are_the_published_ones() -> None:
    low, high = wilson(172, 200)
    assert (round(low, 4), round(high, 4)) == (0.8051, 0.9013)
    assert wilson(0, 0) == (0.0, 1.0)
    assert Share(successes=0, total=0).value is None and str(Share(successes=0, total=0)) == "unknown"


@given(st.integers(0, 500), st.integers(0, 500))
def test_intervals_hold_their_share(successes: int, failures: int) -> None:
    low, high = wilson(successes, successes + failures)
    assert 0 <= low <= high <= 1
    if successes + failures:
        assert low <= successes / (successes + failures) <= high


def test_every_option_reaches_the_saved_configuration_and_comes_back(tmp_path: Path) -> None:
    changed = build_config("gpu", ["ppo.lr=3e-4", "ppo.anneal=false", "env.worlds=7"], seed=5)
    write_json(tmp_path / "run.json", changed)
    back = read_json(tmp_path / "run.json", RunConfig)
    assert back == changed and back.ppo.lr == 3e-4 and not back.ppo.anneal and back.seed == 5 and back.env.worlds == 7
    assert back.model.width == 512
    assert {"ppo.lr", "env.name", "gate.learned_at", "seed"} <= set(option_names())


def test_an_unknown_key_in_a_saved_configuration_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"ppo": {"learning_rate": 1}}))
    with pytest.raises(LibraryError, match="learning_rate"):
        read_json(tmp_path / "run.json", RunConfig)
    with pytest.raises(UsageError, match="cannot be"):
        build_config(settings=["gate.learned_at=1.5"])


def test_nearest_names_do_not_mind_case() -> None:
    assert nearest_names("collect wod", ["Eat Cow", "Collect Wood"]) == "Did you mean 'Collect Wood'?"
    assert nearest_names("zzz", ["Eat Cow"]) == "Known: Eat Cow."


@given(st.text(max_size=30))
def test_a_slug_is_always_a_plain_folder_name(name: str) -> None:
    assert slug(name).replace("_", "a").isalnum() and slug(slug(name)) == slug(name)
    assert HomePaths(Path("h")).skill(3, "Make Wood Pickaxe").folder == Path("h/skills/3_Make_Wood_Pickaxe")


def test_a_run_unpacks_as_in_the_seed() -> None:
    folder, module = HomePaths(Path("h")).run(7, "Make Pickaxe")
    assert (str(folder), str(module)) == (
        "h/training_runs/skill_7_Make_Pickaxe",
        "h/training_runs/skill_7_Make_Pickaxe/7.py",
    )


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {"scalar": np.int32(3), "flags": np.array([True, False]), "b": np.arange(6.0).reshape(2, 3).T}
    write_arrays(tmp_path / "a.safetensors", arrays)
    back = read_arrays(tmp_path / "a.safetensors")
    for name, value in arrays.items():
        assert back[name].shape == np.shape(value) and back[name].dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(back[name], value)


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


@pytest.mark.parametrize("version", ["0.10.2", "0.11.0"])
def test_a_jax_that_computes_wrong_is_refused_with_the_version_to_install(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: version)
    with pytest.raises(PlatformError, match=rf"jaxlib {version} computes wrong.*pip install jax==0\.10\.1"):
        check_jax_version()


def test_a_jax_whose_worlds_differ_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    from flowrl.jax_runtime import check_jax_results

    check_jax_results()
    monkeypatch.setattr(jax, "vmap", lambda fn: lambda keys: jax.numpy.stack([fn(keys[0])] * len(keys)))
    with pytest.raises(PlatformError, match=r"vmapped worlds wrong.*pip install"):
        check_jax_results()


def results(started: list[int], success: list[bool], task: list[int], timeout: list[bool] | None = None) -> StepResult:
    count = len(started)
    won = np.array(success)
    late = np.array(timeout or [False] * count)
    zero = np.zeros(count, np.int32)
    rows = StepResult(
        reward=zero, task=np.array(task), task_done=won, success=won, died=~won & ~late, timeout=late, cause=zero,
        length=zero, started=np.array(started), amount=zero, from_kept=np.zeros(count, bool),
    )  # fmt: skip
    return StepResult(*(np.asarray(row)[None] for row in rows))


def test_quick_successes_do_not_outweigh_slow_failures() -> None:
    """40 of 100 first episodes succeed at once; had only the ended ones counted, success would be 100 %."""
    progress = Progress()
    progress.begin(100)
    progress.count(results([0] * 40, [True] * 40, [0] * 40), 1, ("died",), 0)
    assert progress.recent(50).success.total == 0, "too many are still under way to say anything"
    progress.count(results([0] * 56, [False] * 56, [0] * 56), 2, ("died",), 0)
    recent = progress.recent(50)
    assert (recent.success.successes, recent.success.total) == (40, 100), "what is under way counts as a failure"
    assert recent.causes == {"died": 56}


def test_step_success_counts_the_episodes_that_reached_the_last_task() -> None:
    progress = Progress()
    progress.begin(10)
    ended = results([0] * 10, [True] * 4 + [False] * 6, [1] * 4 + [1, 0, 0, 0, 0, 0], [False] * 8 + [True] * 2)
    progress.count(ended, 1, ("died",), 1)
    recent = progress.recent(10)
    assert (recent.success.successes, recent.success.total) == (4, 10)
    assert (recent.step_success.successes, recent.step_success.total) == (4, 5)
    assert recent.causes == {"died": 4, "timeout": 2}
    assert Progress.model_validate_json(progress.model_dump_json()) == progress
