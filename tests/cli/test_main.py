"""The command line through its real entry point: help, exit codes, messages, homes that cannot be used."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowrl.cli import options
from flowrl.cli.options import configure
from flowrl.config import MAX_SEED, build_config
from flowrl.errors import LibraryError
from flowrl.files import write_json, write_text
from flowrl.knowledge.base import load_base
from flowrl.library.home import SkillLibrary
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.home import SkillRecord
from flowrl.schema.plan import Plan, PlanStep
from flowrl.stats import Share
from tests.support.commands import flowrl
from tests.support.runs import TINY, tree_bytes

COMMANDS = ["grow", "train", "plan", "eval", "skills", "skills list", "skills show", "bench", "doctor"]
SMALL = [
    "env.worlds=64", "env.fresh_worlds=64", "env.episode_steps=100", "model.width=32", "ppo.steps=32",
    "ppo.minibatch_size=512", "ppo.lr=2e-3", "gate.worlds=256", "gate.per_amount_worlds=32", "gate.min_episodes=100",
    "checkpoint.every=2",
]  # fmt: skip


def settings(*extra: str) -> list[str]:
    return [part for setting in (*SMALL, *extra) for part in ("--set", setting)]


def made_up_home(home: Path) -> SkillLibrary:
    """A home with one learned skill whose numbers and weights are made up."""
    library = SkillLibrary.open_for(home, build_config(env__name=TINY, model__width=8))
    share = Share(successes=180, total=200)
    record = SkillRecord(
        name="Collect Wood",
        expert_idx=0,
        spec=load_base(TINY).skill("Collect Wood").spec,
        status="learned",
        frames=1234,
        evaluation=Evaluation(
            success=share, step_success=share, reached=(200,), finished=(180,), causes={"hunger": 20},
            length=31.5, amount=2, per_amount={1: share}, worlds_seed=0,
        ),
        plan=Plan(goal="Collect Wood", steps=(PlanStep(skill="Collect Wood", n=2, expert=0),)),
        path="skills/0_Collect_Wood",
    )  # fmt: skip
    paths = library.skill_paths(record)
    library.store_expert(paths, {"actor.layer_0.bias": np.zeros(3, np.float32)}, 1234)
    write_text(paths.module, load_base(TINY).skill("Collect Wood").code)
    write_json(paths.record, record)
    return library


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example_that_is_a_command(command: str) -> None:
    done = flowrl(*command.split(), "--help")
    assert done.returncode == 0 and "Example: flowrl " in done.stdout
    assert f"flowrl {command}" in " ".join(done.stdout.split())


@pytest.mark.parametrize("command", ["grow", "train"])
def test_help_says_where_episodes_begin_and_what_is_measured(command: str) -> None:
    said = " ".join(flowrl(command, "--help").stdout.split())
    assert "--start-from" in said and "--start-share" in said and "success is measured from new worlds" in said
    assert re.search(rf"flowrl {command} .*--start-from frontier --start-share 0\.5", said)


def test_options_say_where_episodes_begin(tmp_path: Path) -> None:
    from flowrl.cli.options import configure

    assert configure(tmp_path, TINY, "cpu", 0, None).start.source == "new"
    given = configure(tmp_path, TINY, "cpu", 0, None, start_from="frontier", start_share=0.25)
    assert (given.start.source, given.start.share) == ("frontier", 0.25)
    set_so = configure(tmp_path, TINY, "cpu", 0, ["start.source=frontier", "start.keep=10"], start_share=0.25)
    assert (set_so.start.source, set_so.start.share, set_so.start.keep) == ("frontier", 0.25, 10)


def test_seeds_have_one_range() -> None:
    assert options.MAX_SEED == MAX_SEED


def test_help_is_instant() -> None:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        assert flowrl("--help").returncode == 0
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5


def test_the_control_process_imports_no_jax(tmp_path: Path) -> None:
    made_up_home(tmp_path / "home")
    code = (
        "import sys; sys.argv = ['flowrl', *sys.argv[1:]]; from flowrl.cli.main import main; code = main(); "
        "heavy = {'jax', 'jaxlib', 'flax', 'optax', 'craftax'} & set(sys.modules); "
        "assert not heavy, heavy; sys.exit(code)"
    )
    for arguments in (["skills", "list"], ["plan", "Make Pickaxe"], ["skills", "show", "Collect Wood"]):
        command = [sys.executable, "-c", code, *arguments, "--home", str(tmp_path / "home")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "flowrl.growing.grow" in subprocess.run(
        [sys.executable, "-c", "import sys, flowrl.growing.grow; assert 'jax' not in sys.modules; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


USAGE_ERRORS = {
    ("grow", "--env", "Craftax-Clasic-Symbolic-v1"): "No environment .*Did you mean 'Craftax-Classic-Symbolic-v1'",
    ("grow", "--preset", "cpi"): "No preset 'cpi'. Did you mean 'cpu'",
    ("grow", "--set", "ppo.learning_rate=1"): r"No option 'ppo\.learning_rate'",
    ("grow", "--set", "ppo.lrr=1"): r"Did you mean 'ppo\.lr'",
    ("grow", "--set", "ppo.lr"): "--set takes KEY=VALUE",
    ("grow", "--set", "ppo.lr=fast"): r"ppo\.lr cannot be 'fast'",
    (
        "grow",
        "--set",
        "ppo.entropy=0.1",
    ): r"'ppo\.entropy' is called 'ppo\.entropy_coef' now: --set ppo\.entropy_coef=0\.1",
    ("grow", "--set", "ppo.clip_eps=-1"): r"ppo\.clip_eps cannot be '-1': .*greater than 0",
    ("grow", "--goal", "wood_pickaxx"): "wood_pickaxe",
    ("grow", "--goal", "wood, EAT_COW"): "'wood, EAT_COW' is several goals. Give each a --goal of its own",
    ("grow", "--goal", "wood=1", "--goal", "wood=3"): "'Collect Wood' is asked for twice, with different amounts",
    ("grow", "--apart"): "--apart says how a --goal",
    ("grow", "--goal", "wood", "--goal", "stone", "--skills", "3"): "leave out --apart, --skills",
    ("grow", "--skills", "99"): "has 24 skills, fewer than --skills 99",
    ("grow", "--skills", "0"): "--skills",
    ("train", "Colect Wood"): "Did you mean 'Collect Wood'",
    ("train",): "Give either a skill or --module",
    ("train", "--module", "no_such.py"): "Cannot read the task module no_such.py",
    ("train", "Collect Wood", "--name", "x"): "--name goes with --module",
    ("plan", "Colect Wood"): "Collect Wood",
    ("plan",): "Give either a goal or --frontier",
    ("plan", "wood", "--frontier"): "Give either a goal or --frontier",
    ("plan", "wood", "--from", "learnt"): "Did you mean 'learned'",
    ("plan", "wood=12"): "12 wood is more than the 9 that there can be",
    ("bench", "mo"): "No table 'mo'. Did you mean 'moe'",
    ("grow", "--start-from", "frontir"): r"start\.source cannot be 'frontir': .*'new', 'frontier' or 'ring'",
    ("grow", "--start-share", "0.5"): "--start-share goes with --start-from frontier",
    ("train", "Collect Wood", "--start-share", "0.5", "--start-from", "new"): "goes with --start-from frontier",
    ("train", "Collect Wood", "--start-from", "frontier", "--start-share", "1"): r"start\.share .*less than 1",
    ("fly",): "No such command 'fly'",
}


@pytest.mark.parametrize("arguments", USAGE_ERRORS, ids=" ".join)
def test_bad_usage_is_exit_2_with_the_nearest_names(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = flowrl(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert re.search(USAGE_ERRORS[arguments], " ".join(done.stderr.split())), done.stderr
    assert "Traceback" not in done.stderr and not any(tmp_path.iterdir()), "nothing was made"


def test_a_module_that_cannot_be_used_is_bad_usage_by_name(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def task_0_is_done(inventroy):\n    return True\n")
    done = flowrl("train", "--module", "bad.py", cwd=tmp_path)
    assert done.returncode == 2 and "bad.py, line 1: task_0_is_done asks for 'inventroy'" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.py"]


def spoil_foreign(home: Path) -> None:
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")


def spoil_record(home: Path) -> None:
    made_up_home(home)
    file = home / "skills/0_Collect_Wood/skill.json"
    file.write_bytes(file.read_bytes()[:60])


def spoil_description(home: Path) -> None:
    made_up_home(home)
    (home / "home.json").write_text('{"format": 1, "env')


HOMES: dict[str, tuple[Any, list[str], str]] = {
    "not ours": (spoil_foreign, [], "is not a flowrl home: it has no home.json"),
    "of another game": (made_up_home, ["--env", "Craftax-Classic-Symbolic-v1"], "holds env='Tiny-Grid-v1', not"),
    "of another shape": (made_up_home, ["--set", "model.width=16"], "holds width=8, not 16"),
    "with a truncated record": (spoil_record, [], r"skill\.json is damaged"),
    "with a truncated description": (spoil_description, [], r"home\.json is damaged"),
}


@pytest.mark.parametrize("kind", HOMES)
def test_a_home_that_cannot_be_used_is_named_and_left_alone(kind: str, tmp_path: Path) -> None:
    make, arguments, message = HOMES[kind]
    home = tmp_path / "home"
    make(home)
    before = tree_bytes(home)
    done = flowrl("grow", "--skills", "2", "--home", str(home), *arguments)
    assert done.returncode == 1 and re.search(message, done.stderr), done.stderr
    after = {name: data for name, data in tree_bytes(home).items() if name not in {"lock", "owner.json"}}
    assert after == before


def test_a_home_of_an_earlier_format_is_told_so_in_one_sentence(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made_up_home(home)
    described = json.loads((home / "home.json").read_text()) | {"format": 1}
    (home / "home.json").write_text(json.dumps(described))
    with pytest.raises(LibraryError, match=r"has format 1; this flowrl reads format 2.*Grow a new one"):
        SkillLibrary.open(home)


def test_a_home_keeps_whether_its_layers_are_shared(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made_up_home(home)
    described = json.loads((home / "home.json").read_text()) | {"shared": False}
    (home / "home.json").write_text(json.dumps(described))
    config = configure(home, None, "cpu", 0, [])
    assert config.model.shared is False
    SkillLibrary.open_for(home, config)
    with pytest.raises(LibraryError, match="holds shared=False, not True"):
        SkillLibrary.open_for(home, build_config(env__name=TINY, model__width=8))


def test_a_home_in_use_names_the_process_that_holds_it(tmp_path: Path) -> None:
    library = made_up_home(tmp_path / "home")
    with library.lock():
        done = flowrl("grow", "--skills", "2", "--home", str(tmp_path / "home"))
    assert done.returncode == 1 and f"is in use by process {os.getpid()} on" in done.stderr


def test_a_home_that_is_missing_says_how_to_make_one(tmp_path: Path) -> None:
    done = flowrl("skills", "list", "--home", "nowhere", cwd=tmp_path)
    assert done.returncode == 1 and "flowrl grow --home nowhere" in done.stderr


def test_a_list_as_json_has_the_promised_keys(tmp_path: Path) -> None:
    made_up_home(tmp_path / "home")
    for arguments in (["skills", "list"], ["skills"]):
        done = flowrl(*arguments, "--home", str(tmp_path / "home"), "--json")
        (row,) = json.loads(done.stdout)
        assert list(row) == [
            "name", "status", "expert", "frames", "success", "success_low", "success_high", "step_success",
            "step_success_low", "step_success_high", "episodes", "path",
        ]  # fmt: skip
        assert (row["name"], row["status"], row["expert"], row["frames"]) == ("Collect Wood", "learned", 0, 1234)
        assert row["success"] == 0.9 and row["success_low"] < 0.9 < row["success_high"] and row["episodes"] == 200


def test_a_skill_is_shown_with_what_was_measured(tmp_path: Path) -> None:
    made_up_home(tmp_path / "home")
    done = flowrl("skills", "show", "collect wood", "--home", str(tmp_path / "home"))
    assert done.returncode == 0 and "90.0 % [85.1, 93.4]" in done.stdout and "hunger 100 %" in done.stdout
    done = flowrl("skills", "show", "Collect Wod", "--home", str(tmp_path / "home"))
    assert done.returncode == 2 and "No skill 'Collect Wod' among the 1 in" in done.stderr


def test_a_plan_names_steps_amounts_experts_and_reasons(tmp_path: Path) -> None:
    made_up_home(tmp_path / "home")
    done = flowrl("plan", "make pickaxe", "--home", str(tmp_path / "home"), "--json")
    plan = json.loads(done.stdout)
    assert [(s["skill"], s["n"], s["expert"], s["status"]) for s in plan["steps"]] == [
        ("Collect Wood", 2, 0, "learned"), ("Place Table", 1, None, "unknown"), ("Make Pickaxe", 1, None, "unknown"),
    ]  # fmt: skip
    assert all(step["why"] for step in plan["steps"])
    assert "2 wood: 1 for Place Table, 1 for Make Pickaxe" in flowrl("plan", "pickaxe", "--env", TINY).stdout


def test_a_plan_says_what_is_held_after_each_step(tmp_path: Path) -> None:
    done = flowrl("plan", "Make Wood Pickaxe", "--json", cwd=tmp_path)
    steps = json.loads(done.stdout)["steps"]
    assert [step["after"].get("wood", 0) for step in steps] == [3, 1, 0]
    assert steps[-1]["after"]["near:crafting_table"] == 1 and steps[-1]["floor"] == 0
    assert "wood, near crafting_table" in flowrl("plan", "Make Wood Pickaxe", cwd=tmp_path).stdout


def test_a_plan_from_learned_skills_says_what_has_to_be_learned(tmp_path: Path) -> None:
    made_up_home(tmp_path / "home")
    from_learned = ["--home", str(tmp_path / "home"), "--from", "learned"]
    done = flowrl("plan", "wood=1", *from_learned, "--json")
    assert [step["skill"] for step in json.loads(done.stdout)["steps"]] == ["Collect Wood"]
    done = flowrl("plan", "stone", *from_learned)
    assert done.returncode == 1 and "'Place Table' yields near:table but is not learned" in done.stderr


def test_the_frontier_gives_a_reason_for_every_skill(tmp_path: Path) -> None:
    made_up_home(tmp_path / "home")
    done = flowrl("plan", "--frontier", "--home", str(tmp_path / "home"), "--json")
    standing = {row["skill"]: row["standing"] for row in json.loads(done.stdout)}
    assert standing["Collect Wood"] == "learned" and standing["Place Table"] == "ready"
    assert standing["Collect Stone"] == "out of reach"
    shown = flowrl("plan", "--frontier", "--home", str(tmp_path / "home")).stdout
    assert "it needs pickaxe, which 'Make Pickaxe' yields but is not learned" in shown


def test_weights_that_were_changed_are_refused(tmp_path: Path) -> None:
    library = made_up_home(tmp_path / "home")
    paths = library.skill_paths(library.record("Collect Wood"))
    library.store_expert(paths, {"actor.layer_0.bias": np.zeros(3, np.float32)}, 1)
    paths.params.write_bytes(paths.params.read_bytes()[:-1] + b"\x01")
    done = flowrl("eval", "Collect Wood", "--home", str(tmp_path / "home"), "--episodes", "4")
    assert done.returncode == 1 and "it was changed since" in done.stderr


@pytest.mark.slow
def test_ctrl_c_prints_the_command_that_goes_on_and_it_does(tmp_path: Path) -> None:
    arguments = ["grow", "--env", TINY, "--skills", "1", "--home", "my home", *settings()]
    process = subprocess.Popen(
        [sys.executable, "-m", "flowrl", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = tmp_path / "my home/training_runs/skill_0_Collect_Wood/metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (metrics.exists() and '"update": 3' in metrics.read_text()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and "--home 'my home'" in said and "To continue:" in said
    listed = json.loads(flowrl("skills", "list", "--home", "my home", "--json", cwd=tmp_path).stdout)
    assert [(row["name"], row["status"], row["success"]) for row in listed] == [("Collect Wood", "running", None)]
    again = said.split("To continue:")[1].strip()
    done = subprocess.run(again, shell=True, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=600)
    assert done.returncode == 0 and "the library holds 1 learned skills" in done.stdout, done.stderr
    assert "\x1b" not in done.stdout, "no control characters where there is no terminal"
    done = flowrl(*arguments, cwd=tmp_path)
    assert done.returncode == 0 and "expert 0, plan" not in done.stdout
    measured = flowrl("eval", "Collect Wood", "--home", "my home", "--episodes", "64", "--json", cwd=tmp_path)
    assert json.loads(measured.stdout)["success"]["total"] == 64


@pytest.mark.slow
def test_doctor_finds_nothing_wrong_here(tmp_path: Path) -> None:
    done = flowrl("doctor", "--json", cwd=tmp_path)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 0 and {"python", "jax", "jax results", "devices", "memory", "disk"} <= checks.keys()
