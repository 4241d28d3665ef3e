"""The check of a traced skill function. Jax primitives on an allow-list, no large arrays."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jax.extend import core

from flowrl.verify.text.allow_list import MAX_SIZE

MAX_EQUATIONS = 2_000
_ALLOWED = """
abs add and argmax argmin broadcast_in_dim ceil clamp concatenate convert_element_type copy copy_p cos cumsum
cumprod cumlogsumexp cummax cummin custom_jvp_call custom_vjp_call div dot_general dynamic_slice
dynamic_update_slice eq exp exp2 expand_dims expm1 floor gather ge gt integer_pow iota is_finite jit le log log1p
logistic lt max min mul ne neg nextafter not or pad pjit population_count pow reduce_and reduce_max reduce_min
reduce_or reduce_prod reduce_sum reduce_xor rem reshape rev round rsqrt scatter scatter-add scatter_add
scatter-mul scatter_mul scatter-min scatter_min scatter-max scatter_max select_n shift_left shift_right_arithmetic
shift_right_logical sign sin slice sort split sqrt square squeeze stack stop_gradient sub tan tanh
tile transpose unstack xor
"""
ALLOWED = frozenset(_ALLOWED.split())
"""Nothing that calls back into Python, loops, draws random numbers, or leaves the device."""


def problem_of(closed: Any) -> str | None:
    """What a jaxpr of one world may not contain, as a sentence. None if nothing."""
    count = 0
    for jaxpr in _nested(closed):
        for constant in getattr(jaxpr, "consts", ()):
            if np.size(constant) > MAX_SIZE:
                return f"it holds a constant of {np.size(constant):,} numbers; at most {MAX_SIZE:,} are allowed."
        equations = getattr(jaxpr, "jaxpr", jaxpr).eqns
        count += len(equations)
        if problem := next(filter(None, map(_equation_problem, equations)), None):
            return problem
    if count > MAX_EQUATIONS:
        return f"it makes {count:,} operations; at most {MAX_EQUATIONS:,} are allowed. Write it shorter."
    return None


def _equation_problem(equation: Any) -> str | None:
    name = equation.primitive.name
    if name not in ALLOWED:
        return (
            f"it uses the operation {name!r} of jax, which skill code may not: no loops, no calls back into Python, "
            "no random numbers. Write it with plain jax.numpy on whole arrays."
        )
    for out in equation.outvars:
        size = int(np.prod(getattr(out.aval, "shape", ()), dtype=object))
        if size > MAX_SIZE:
            return f"it makes an array of {size:,} numbers in {name!r}; at most {MAX_SIZE:,} are allowed in a world."
    return None


def _nested(closed: Any) -> Iterator[Any]:
    """Yield a jaxpr and all jaxprs inside its equations."""
    yield closed
    for equation in getattr(closed, "jaxpr", closed).eqns:
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else [value]:
                if isinstance(part, core.ClosedJaxpr | core.Jaxpr):
                    yield from _nested(part)
