"""Place Torch: put a torch on the free cell ahead."""

from craftax.craftax.constants import Achievement
from jax import Array


def is_done(achievements: Array) -> Array:
    """Returns whether a torch was placed since the task began."""
    return achievements[Achievement.PLACE_TORCH.value] > 0


def reward(achievements_diff: Array) -> Array:
    """Returns 1 for placing a torch, which ends the task."""
    return achievements_diff[Achievement.PLACE_TORCH.value] * 1.0
