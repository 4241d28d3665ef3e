"""Programs that a sandbox must refuse or contain, and honest ones that it must let pass."""

from flowrl.bench.hostile.bombs import BOMBS
from flowrl.bench.hostile.broken import BROKEN
from flowrl.bench.hostile.farms import FARMS
from flowrl.bench.hostile.good import GOOD
from flowrl.bench.hostile.jaxes import JAXES
from flowrl.bench.hostile.language import LANGUAGE
from flowrl.bench.hostile.machine import MACHINE
from flowrl.bench.hostile.program import BREACH, Program
from flowrl.bench.hostile.text import TEXT

PROGRAMS: tuple[Program, ...] = (*LANGUAGE, *TEXT, *MACHINE, *BOMBS, *JAXES, *BROKEN, *FARMS)
"""All of them are hostile or broken; each name stands once."""

__all__ = ["BREACH", "GOOD", "PROGRAMS", "Program"]
