"""Counts of a checkout made up for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.house import circles_in, count, first_sentence, imports_of, modules_of, nodes_of, rooms_of

FILES = {
    "README.md": "# A title\n\nText.\n",
    "flowrl/__init__.py": "",
    "flowrl/ground.py": '"""Two words."""\n\nA = 1\nB = 2\nC = 3\n',
    "flowrl/one/__init__.py": "",
    "flowrl/one/a.py": '"""One, two, three: four. More."""\n\n\ndef f():\n    from flowrl.two import b\n    return b\n',
    "flowrl/two/__init__.py": "",
    "flowrl/two/b.py": "from flowrl.one.c import _g\n\n\ndef _h():\n    return _g() + _g()\n\n\nH = _h()\n",
    "flowrl/one/c.py": "import flowrl.ground\n\n\ndef _g():\n    return flowrl.ground.A\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": {"e"}, "e": {"f"}, "f": {"d"}, "g": {"g"}}
    assert circles_in(graph) == [["d", "e", "f"], ["b", "c"]]
    assert circles_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_imports_inside_functions_close_a_circle_of_packages(checkout: Path) -> None:
    graph = imports_of(nodes_of(modules_of(checkout)))
    assert graph["flowrl.one.a"] == {"flowrl.two.b"} and graph["flowrl.one.c"] == {"flowrl.ground"}
    assert circles_in(graph) == [] and circles_in(rooms_of(graph)) == [["one", "two"]]


def test_rows_of_a_checkout(checkout: Path) -> None:
    assert count(checkout) == {
        "loose modules": 1,
        "package circles": 1,
        "packages in circles": 2,
        "file circles": 0,
        "files": 4,
        "lines": 5 + 6 + 8 + 5,
        "functions": 3,
        "function lines, median": 2,
        "function lines, p90": 3,
        "function lines, max": 3,
        "private functions used once, %": 33.3,
        "docstring's first sentence: words, median": 3,
        "docstring's first sentence: words, p90": 4,
        "docstring's first sentence: commas, mean": 1,
        "README lines": 3,
    }


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("One. Two.", "One."),
        ("Over\ntwo lines. More.", "Over two lines."),
        ("No stop\n\nArgs:", "No stop"),
        ("With e.g. a.b inside. More.", "With e.g. a.b inside."),
    ],
)
def test_first_sentences(docstring: str, sentence: str) -> None:
    assert first_sentence(docstring) == sentence


def test_the_command_prints_a_column_a_checkout(checkout: Path) -> None:
    script = Path(__file__).parents[2] / "tools" / "house.py"
    line = [sys.executable, str(script), str(checkout), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert list(json.loads(done.stdout).values()) == [count(checkout)]
