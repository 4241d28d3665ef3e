"""Experts placed on devices, and sent round more than two.

That many must be asked for at a process's start.
"""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.training.expert_parallel import place_experts

SCRIPT = """
import jax
import numpy as np
from flowrl.jax_runtime import configure_jax
configure_jax(0.5, groups=4)
jax.config.update("jax_num_cpu_devices", 4)
from flowrl.training import expert_parallel
from flowrl.rollout.devices import check_devices
from tests.support.probes import probe_trainer
from tests.support.probes import CLOCK, ROUTED, made_up_samples, updated

assert len(jax.local_devices()) == 4
check_devices(jax.local_devices())
expert_parallel.STEP_COST = 1000
trainer = probe_trainer(CLOCK, ROUTED * 2, [0, 1, 2, 3], epochs=2, min_gradient_steps=1, minibatch_size=32)
samples = made_up_samples(trainer, 120, 4)
found = [jax.device_get(updated(trainer, samples, 4, devices)) for devices in (1, 2, 4)]
for params, moments, losses in found[1:]:
    learned = jax.tree.leaves((params, moments))
    wanted = jax.tree.leaves(found[0][:2])
    assert [leaf.tobytes() for leaf in learned] == [leaf.tobytes() for leaf in wanted], "bit for bit"
    np.testing.assert_allclose(losses, found[0][2], rtol=1e-6)
print("the same on 1, 2 and 4 devices")
"""


def test_experts_that_go_round_four_devices_are_those_of_one() -> None:
    """Three experts with samples on four devices: one owns none. An expert passes two devices before the last."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip().endswith("the same on 1, 2 and 4 devices"), done.stderr[-2000:]


@pytest.mark.parametrize(
    ("amounts", "cost", "groups", "apart", "loads"),
    [
        ([100, 100, 100, 100], 10, 2, True, [220, 220]),
        ([300, 100, 100, 100], 10, 2, True, [310, 330]),
        ([900, 10, 10, 10], 10, 2, False, [910, 60]),
        ([900, 10, 10, 10], 500, 2, True, [1400, 1530]),
        ([100, 0, 0, 100], 10, 2, True, [110, 110]),
        ([100, 0, 0, 0], 10, 2, False, [110, 0]),
        ([100], 10, 2, False, [110, 0]),
        ([100, 100], 10, 1, False, [220]),
        ([0, 0], 10, 2, False, [0, 0]),
        ([70, 50, 40, 40], 0, 2, False, [110, 90]),
    ],
)
def test_experts_are_stepped_apart_where_that_takes_less(
    amounts: list[int], cost: int, groups: int, apart: bool, loads: list[int]
) -> None:
    owner, chosen = place_experts(jnp.asarray(amounts), jnp.full(len(amounts), cost), groups)
    work = np.where(np.asarray(amounts) > 0, np.asarray(amounts) + cost, 0)
    assert bool(chosen) is apart
    assert [int(work[np.asarray(owner) == group].sum()) for group in range(groups)] == loads
