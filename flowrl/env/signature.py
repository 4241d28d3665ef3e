"""Signature of a game: the arguments of skill code. `python -m flowrl.env.signature ENV` prints it as JSON."""

import sys

import jax

from flowrl.env.block_memory import closest_blocks, empty_memory
from flowrl.env.domain import Domain
from flowrl.env.registry import domain_named
from flowrl.env.skill_inputs import skill_inputs
from flowrl.skillcode.flat_inputs import flat_leaves
from flowrl.skillcode.inputs import GameSignature


def signature_of(domain: Domain) -> GameSignature:
    """Shapes and types of the arguments, and names behind their indices."""

    def inputs(key: jax.Array) -> dict[str, jax.Array]:
        world = domain.reset_fn(key)
        vitals = domain.vitals_fn(world)
        closest = closest_blocks(domain, empty_memory(domain), world)
        flags = jax.numpy.zeros(len(domain.achievements), dtype=bool)
        n = jax.numpy.int32(1)
        return flat_leaves(skill_inputs(vitals, vitals, closest, closest, flags, flags, jax.numpy.float32(0), n))

    leaves = jax.eval_shape(inputs, jax.random.key(0))
    return GameSignature(
        leaves={name: (tuple(leaf.shape), str(leaf.dtype)) for name, leaf in leaves.items()},
        blocks=domain.sight.names,
        achievements=domain.achievements,
        actions=domain.actions,
    )


if __name__ == "__main__":
    sys.stdout.write(signature_of(domain_named(sys.argv[1])).model_dump_json() + "\n")
