"""Private folders of this user outside of homes."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from flowrl.errors import PlatformError


def user_cache() -> Path:
    """This user's folder for what can be made again. It lies outside of any repository or home."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "flowrl"


def user_state() -> Path:
    """This user's folder for decisions on trust. It lies outside of any repository or home."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "flowrl"


def private_folder(folder: Path) -> Path:
    """A folder that only this user can change. It is made where missing.

    Other users can neither write to it nor rename or replace a folder on the way to it.

    Raises:
        PlatformError: it cannot be made, or is another user's, or others can write to it or to a folder on the way, so
            that what lies there could be anybody's.
    """
    try:
        make_private(folder)
        reasons = [f"{place} {why}" for place in _way_to(folder) if (why := _doubt(place, place == folder.absolute()))]
    except OSError as error:
        raise PlatformError(f"Cannot use the folder {folder}: {error}.") from error
    if reasons:
        raise PlatformError(
            f"Others can write to {folder}, whose files decide what runs: {reasons[0]}. Take that right from them: "
            f"chmod go-w, or chown; or let XDG_CACHE_HOME and XDG_STATE_HOME name folders of your own."
        )
    return folder


def make_private(folder: Path) -> None:
    """Make a folder for this user alone."""
    for place in (*reversed(folder.parents), folder):
        if not place.exists():
            place.mkdir(mode=0o700, exist_ok=True)


def _way_to(folder: Path) -> Iterator[Path]:
    """Every folder and link on a path. The folder itself comes first."""
    waiting, seen = [folder], set[Path]()
    while waiting:
        path = waiting.pop().absolute()
        for place in (path, *path.parents):
            if place not in seen:
                seen.add(place)
                yield place
                if place.is_symlink():
                    waiting.append(place.parent / place.readlink())


def _doubt(place: Path, is_own: bool) -> str:
    """Why a place may be another user's. Empty where it cannot be.

    Args:
        is_own: it must be this user's, and a folder; else root's will do, or a link, or one such as /tmp (sticky),
            where users cannot rename each other's files.
    """
    found = place.lstat()
    us = os.geteuid() if hasattr(os, "geteuid") else found.st_uid
    if found.st_uid not in ({us} if is_own else {us, 0}):
        return f"belongs to user {found.st_uid}"
    if stat.S_ISLNK(found.st_mode):
        return "is a link" if is_own else ""
    others = 0o002 if _is_own_group(found.st_gid) else 0o022
    is_open = found.st_mode & others and (is_own or not found.st_mode & stat.S_ISVTX)
    return f"has the rights {stat.S_IMODE(found.st_mode):o}" if is_open else ""


def _is_own_group(number: int) -> bool:
    """Whether a group is the user's private one.

    Many systems make a group of the same name for each user; what it may write (umask 002) is the user's own.
    """
    try:
        import grp
        import pwd

        return grp.getgrgid(number).gr_name == pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):
        return False
