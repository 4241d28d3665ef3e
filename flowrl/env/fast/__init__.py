"""Upstream's games rewritten for CPUs, with the same results bit for bit. Upstream is written for accelerators; on a
CPU most of a step goes into copies of maps and into random numbers. Its functions are traced as they are, and the trace
is evaluated anew: writes to large arrays are collected and done last (`lazy_writes`), loops are run as one vector or
written out (`jaxpr_rewrite`), random bits come from unrolled rounds (`threefry`), noise is computed once
(`materialise`). Measured on one core, a step is 2.7 times as fast in Classic and 6.4 times in full Craftax.
`spawn_sampling` is apart from these: it draws where creatures appear from a small window.

All but the last hang on internals of jax, such as names of primitives and their parameters, which a new version may
change. The switch to do without: `domain_named(name, fast=False)`, for a run `--set env.fast=false`.
"""
