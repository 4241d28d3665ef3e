"""Writes the file lists of docs/structure.md from first docstring sentences: `python -m tools.tree`."""

import ast
import re
from pathlib import Path

from tools.house import HERE, first_sentence

PAGE = HERE / "docs" / "structure.md"
LIST = re.compile(r"(?<=<!-- files of )(?P<folder>\S+?)/ -->\n.*?(?=<!-- end -->)", flags=re.DOTALL)


def files_of(folder: Path) -> list[Path]:
    """Files that are not empty, nearest first.

    Of `flowrl/` itself only the loose modules, since its folders have lists of their own.
    """
    found = folder.glob("*.py") if folder.name == "flowrl" else folder.rglob("*.py")
    return sorted((path for path in found if path.read_text()), key=lambda path: (len(path.parts), path))


def lines_of(folder: Path) -> list[str]:
    """One line a file, and one a game for all of its skills."""
    games = sorted(path.parent for path in folder.glob("*/base.toml"))
    files = [path for path in files_of(folder) if path.parent not in games]
    docstrings = {path: ast.get_docstring(ast.parse(path.read_text())) or "" for path in files}
    rows = {path.relative_to(folder).as_posix(): first_sentence(docstrings[path]).rstrip(".") for path in files}
    rows |= {
        f"{game.name}/": f"{len(files_of(game))} skills, a file each, with base.toml and manual.md" for game in games
    }
    width = max(map(len, rows)) + 2
    return [f"{name:{width}}{text}" for name, text in rows.items()]


def with_lists(page: str, root: Path = HERE) -> str:
    """The page with each list between its marks written anew."""

    def listed(match: re.Match[str]) -> str:
        lines = "\n".join(lines_of(root / match["folder"]))
        return f"{match['folder']}/ -->\n```\n{lines}\n```\n"

    return LIST.sub(listed, page)


def folders_of(page: str) -> list[str]:
    """Folders that the page has lists of, in its order."""
    return [match["folder"] for match in LIST.finditer(page)]


if __name__ == "__main__":
    PAGE.write_text(with_lists(PAGE.read_text()))
