"""Programs that a sandbox must refuse or contain, and honest ones that it must let pass."""

from benchmarks.hostile.bombs import BOMBS
from benchmarks.hostile.broken import BROKEN
from benchmarks.hostile.farms import FARMS
from benchmarks.hostile.good import GOOD
from benchmarks.hostile.jaxes import JAXES
from benchmarks.hostile.language import LANGUAGE
from benchmarks.hostile.machine import MACHINE
from benchmarks.hostile.program import BREACH, Program
from benchmarks.hostile.text import TEXT

PROGRAMS: tuple[Program, ...] = (*LANGUAGE, *TEXT, *MACHINE, *BOMBS, *JAXES, *BROKEN, *FARMS)
"""All of them are hostile or broken; each name stands once."""

__all__ = ["BREACH", "GOOD", "PROGRAMS", "Program"]
