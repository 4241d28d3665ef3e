"""What a hostile or broken program is, and how short ones are put together from a line."""

from dataclasses import dataclass

from flowrl.schema.skill import Quantity, Skill, SkillSpec

CLASSIC = "Craftax-Classic-Symbolic-v1"
WOOD = SkillSpec(
    yields={"wood": Quantity(per_n=1), "achievement:COLLECT_WOOD": Quantity(base=1)}, item="wood", n_range=(1, 9)
)
"""What most programs claim to do: collect n wood."""

DONE = "def is_done(inventory, n):\n    return inventory.wood >= n\n"
REWARD = "def reward(inventory, inventory_diff, n):\n    return gathered(inventory.wood, inventory_diff.wood, n)\n"
IMPORTS = "import jax\nimport jax.numpy as jnp\n\nfrom flowrl.env.shaping import gathered\n"
BREACH = "BREACH"
"""What a program says in an error of its own when it did what it should not have been able to do."""

FOLDER, PORT, VICTIM, SECRET = "@FOLDER@", "@PORT@", "@VICTIM@", "@SECRET@"
"""What stands in a program's text for a folder, a loopback port, a process and a file that it aims at."""


@dataclass(frozen=True)
class Program:
    """A text that pretends to be the code of a skill.

    Attributes:
        code: its text; aim it at something before use, see `aimed`.
        why: what it tries, or what is wrong with it.
        stage: the check that must refuse it; "ok" where nothing may.
        says: a regular expression that what is said must match, beyond naming a line or a function.
        below: the check that refuses it when the allow-list is switched off, "ok" where it then passes, having done
            no harm, "any" where either will do; empty where that would show nothing.
        below_says: a regular expression that what is said then must match.
    """

    name: str
    code: str
    why: str
    stage: str
    says: str = ""
    below: str = ""
    below_says: str = ""
    spec: SkillSpec = WOOD
    env: str = CLASSIC

    def aimed(self, folder: str, port: int, victim: int, secret: str, trusted: bool = False) -> Skill:
        """The program as a skill that goes for this folder, port, process and file."""
        code = self.code.replace(FOLDER, folder).replace(PORT, str(port))
        code = code.replace(VICTIM, str(victim)).replace(SECRET, secret)
        return Skill(name=self.name, spec=self.spec, code=code, trusted=trusted)


def loaded(lines: str) -> str:
    """A good skill that runs the lines when it is loaded."""
    return f"{IMPORTS}\n{lines}\n\n\n{DONE}\n\n{REWARD}"


def traced(lines: str) -> str:
    """A good skill whose reward runs the lines first, when it is traced."""
    body = "".join(f"    {line}\n" for line in lines.split("\n"))
    head, last = REWARD.rstrip("\n").split("\n")
    return f"{IMPORTS}\n\n{DONE}\n\n{head}\n{body}{last}\n"


def rewards(expression: str, arguments: str = "inventory, inventory_diff, n") -> str:
    """A skill with a good `is_done` whose reward is the expression."""
    return f"{IMPORTS}\n\n{DONE}\n\ndef reward({arguments}):\n    return {expression}\n"


def ends(expression: str, arguments: str = "inventory, n") -> str:
    """A skill with a good reward whose `is_done` is the expression."""
    return f"{IMPORTS}\n\ndef is_done({arguments}):\n    return {expression}\n\n\n{REWARD}"
