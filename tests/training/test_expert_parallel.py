"""Experts on more than two devices: in a process of its own, as that many must be asked for at its start."""

import subprocess
import sys

SCRIPT = """
import jax
import numpy as np
from flowrl.jax_runtime import configure_jax
configure_jax(0.5, groups=4)
jax.config.update("jax_num_cpu_devices", 4)
from flowrl.training import minibatches
from flowrl.rollout.devices import check_devices
from tests.support.probes import probe_trainer
from tests.support.probes import CLOCK, ROUTED, made_up_samples, updated

assert len(jax.local_devices()) == 4
check_devices(jax.local_devices())
minibatches.STEP_COST = 1000
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
