"""File lists made from first sentences."""

from pathlib import Path

from tools.tree import folders_of, with_lists

PAGE = "# Title\n<!-- files of flowrl/ -->\nold\n<!-- end -->\ntext\n<!-- files of flowrl/room/ -->\n<!-- end -->\n"


def test_lists_are_written_anew_and_the_rest_stays(tmp_path: Path) -> None:
    game = tmp_path / "flowrl" / "room" / "game"
    (game.parent / "inner").mkdir(parents=True)
    game.mkdir()
    (tmp_path / "flowrl" / "loose.py").write_text('"""Loose. More."""\n')
    (game.parent / "__init__.py").write_text("")
    (game.parent / "b.py").write_text('"""What b does."""\n')
    (game.parent / "inner" / "a.py").write_text('"""What a\ndoes: much."""\n')
    (game / "base.toml").write_text("")
    (game / "wood.py").write_text('"""Wood."""\n')
    written = with_lists(PAGE, tmp_path)
    assert written == (
        "# Title\n<!-- files of flowrl/ -->\n```\nloose.py  Loose\n```\n<!-- end -->\ntext\n"
        "<!-- files of flowrl/room/ -->\n```\nb.py        What b does\ninner/a.py  What a does: much\n"
        "game/       1 skills, a file each, with base.toml and manual.md\n```\n<!-- end -->\n"
    )
    assert with_lists(written, tmp_path) == written
    assert folders_of(written) == ["flowrl", "flowrl/room"]
