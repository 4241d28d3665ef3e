"""What a skill's functions say of recorded and forced transitions, held against what its specification promises."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flowrl.fluents import ACHIEVEMENT
from flowrl.verify.forced import Path, Stage

Finding = tuple[str, str | None, str]
"""The check's name, what is wrong (None: nothing), and what was looked at."""
_FEW = 0.1


@dataclass(frozen=True)
class Played:
    """What the functions said of all rows.

    Attributes:
        done, reward: for each part: what was played with each amount, first states with each amount, the forced ways,
            scrambled rows.
    """

    stage: Stage
    paths: list[Path]
    done: list[np.ndarray]
    reward: list[np.ndarray]

    def played(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (done, reward) of what was recorded, with the index-th amount."""
        return self.done[index], self.reward[index]

    def first(self, index: int) -> np.ndarray:
        """Returns done of the first states, with the index-th amount."""
        return self.done[len(self.stage.amounts) + index]

    def forced(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (done, reward) along the index-th forced way."""
        at = 2 * len(self.stage.amounts) + index
        return self.done[at], self.reward[at]


def problems(played: Played, trusted: bool) -> Iterator[Finding]:
    """Yields what was found, check by check; a trusted skill's numbers must be finite, the rest is its author's."""
    yield _finite(played)
    if trusted:
        return
    yield _not_done_at_first(played)
    yield _reachable(played)
    yield _as_promised(played)
    yield _success_pays(played)
    yield _farming(played)


def _finite(played: Played) -> Finding:
    rows = sum(map(len, played.reward))
    bad = sum(int((~np.isfinite(reward)).sum()) for reward in played.reward)
    problem = (
        f"reward returns NaN or infinity in {bad} of {rows:,} tried transitions. Guard divisions and logarithms, for "
        "example with jnp.maximum(x, 1)."
        if bad
        else None
    )
    return "finite", problem, f"in {rows:,} transitions of random play, scripts and forced states"


def _not_done_at_first(played: Played) -> Finding:
    amounts = played.stage.amounts
    for index, n in enumerate(amounts):
        done = played.first(index)
        if done.mean() > _FEW:
            return "initial", (
                f"is_done is true in {int(done.sum())} of {len(done)} states in which the skill begins (n={n}, what it "
                "needs is there, nothing has happened yet), so it would teach nothing. Test for what it yields: "
                f"{played.stage.end_note(n)}."
            ), ""
    return "initial", None, f"not done in {len(played.first(0))} first states, for n = {_listed(amounts)}"


def _reachable(played: Played) -> Finding:
    stage = played.stage
    for n in stage.amounts:
        ways = [played.forced(i)[0] for i, path in enumerate(played.paths) if path.n == n]
        if not any(done[-1] for done in ways):
            return "reachable", (
                f"is_done stays false with n={n} although all that the spec yields holds ({stage.end_note(n)}), so it "
                "could never be finished. Test for exactly that."
            ), ""
    return "reachable", None, f"done once {stage.end_note(stage.amounts[-1])} is forced into the state"


def _as_promised(played: Played) -> Finding:
    """Looks for states in which the skill is done although what it promises does not hold."""
    stage = played.stage
    for i, path in enumerate(played.paths):
        early = np.flatnonzero(played.forced(i)[0] & ~path.held)
        if early.size and stage.spec.scales:
            return "promise", (
                f"is_done is true with n={path.n} after step {early[0] + 1} of {len(path.held)}, before what the spec "
                f"yields holds ({stage.end_note(path.n)}). Compare the amounts with n."
            ), ""
    for index, n in enumerate(stage.amounts):
        for name, row in _first_done(played, index):
            for fluent, quantity in stage.spec.yields.items():
                sure = fluent in stage.fluents and not fluent.startswith(ACHIEVEMENT)
                if sure and stage.fluents[fluent][row] < quantity.at(n):
                    return "promise", (
                        f"is_done is true with n={n} in a recorded state ({name}) in which {fluent} is "
                        f"{int(stage.fluents[fluent][row])}, but the spec yields {quantity.at(n)}. Test for that."
                    ), ""
    return "promise", None, "where it is done in recorded play, what the spec yields holds"


def _first_done(played: Played, index: int) -> Iterator[tuple[str, int]]:
    """Yields the trajectories that finish the skill, each with the row in which it does."""
    done, _ = played.played(index)
    for name, rows in _trajectories(played.stage):
        finished = np.flatnonzero(done[rows])
        if finished.size:
            yield name, int(rows[finished[0]])


def _trajectories(stage: Stage) -> Iterator[tuple[str, np.ndarray]]:
    for number, name in enumerate(stage.names.trajectories):
        yield name, np.flatnonzero(stage.trajectory == number)


def _success(played: Played, n: int) -> tuple[float, float]:
    """Returns what the best forced way to success pays in all, and in its last step."""
    ways = [played.forced(i) for i, path in enumerate(played.paths) if path.n == n]
    finished = [reward for done, reward in ways if done[-1]]
    best = max(finished, key=lambda reward: float(reward.sum()))
    return float(best.sum()), float(best[-1])


def _success_pays(played: Played) -> Finding:
    for n in played.stage.amounts:
        total, last = _success(played, n)
        if total <= 0 or last <= 0:
            return "success pays", (
                f"the reward at success is {last:.3g} (with n={n}; {total:.3g} in all on the way there); it must be "
                "above 0. Pay about 1 in all for what the spec yields, as gathered(amount, change, n) or "
                "achievements_diff[...] do."
            ), ""
    return "success pays", None, f"{_success(played, played.stage.amounts[-1])[0]:.3g} in all"


def _farming(played: Played) -> Finding:
    """Looks for play that never finishes and collects as much as success pays."""
    stage, worst = played.stage, ("nothing", -np.inf)
    for index, n in enumerate(stage.amounts):
        success, _ = _success(played, n)
        done, reward = played.played(index)
        for name, rows in _trajectories(stage):
            finished = np.flatnonzero(done[rows])
            unfinished = reward[rows[: finished[0]]] if finished.size else reward[rows]
            most = float(np.max(np.cumsum(unfinished), initial=0.0))
            if most >= success:
                return "farming", (
                    f"the reward pays {most:.3g} for {name} (n={n}), without the skill ever being done, and "
                    f"{success:.3g} for success. Pay for progress and take as much back where it is lost: use gathered "
                    "and approach of flowrl.env.shaping."
                ), ""
            worst = max(worst, (name, most / success), key=lambda pair: pair[1])
    return "farming", None, (
        f"of {len(stage.names.trajectories)} scripts and random plays none pays more than {worst[1]:.2f} of success "
        f"({worst[0]})"
    )


def _listed(amounts: tuple[int, ...]) -> str:
    return " and ".join(map(str, amounts))
