"""A home and the skills in it."""

from typing import Any, Literal

from pydantic import BaseModel

from flowrl.config import LAYOUTS
from flowrl.schema.evaluation import Evaluation
from flowrl.schema.frozen import Frozen
from flowrl.schema.plan import Plan
from flowrl.schema.skill import SkillSpec


class HomeFormat(BaseModel):
    """The one field of every `home.json`."""

    format: int


class HomeDescription(Frozen):
    """What a home holds: `home.json`. Fixed at first use; anything else is refused by name."""

    format: Literal[2] = 2
    env: str
    layout: str
    width: int
    layers: int
    shared: bool

    def options(self) -> dict[str, Any]:
        """Game and network as arguments of `build_config`."""
        model = {f"model__{name}": getattr(self, name) for name in ("width", "layers", "shared")}
        # A layout that this flowrl does not know is told when the home is used.
        layout = {"env__layout": self.layout} if self.layout in LAYOUTS.get(self.env, ()) else {}
        return {"env__name": self.env, **layout, **model}


class ExpertMeta(Frozen):
    """What an expert's weights are for.

    Attributes:
        sha256: the hash of the weights' file.
        replaces: the hash of the file that stood there before: a process that is killed between writing this and the
            weights leaves that one.
    """

    expert: int
    frames: int
    sha256: str
    replaces: str = ""
    fits: HomeDescription


class SkillRecord(Frozen):
    """A skill of the library: `skill.json`.

    Attributes:
        version: rises by one each time the record is replaced.
        frames: frames that the expert was trained on, all runs together.
        is_module: the skill came as a task module of its own.
        companions: global experts that the library lacks, or that the skill plays with otherwise than the library holds
            them; they lie in its own folder.
        weights: the hash of the weights that it was measured with; "" if unknown.
    """

    name: str
    expert_idx: int
    description: str = ""
    spec: SkillSpec
    status: Literal["learned", "weak"]
    version: int = 1
    frames: int
    evaluation: Evaluation
    plan: Plan
    is_module: bool = False
    companions: tuple[int, ...] = ()
    path: str = ""
    weights: str = ""
