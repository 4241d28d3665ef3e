"""Shares with honest intervals."""

import math

from pydantic import BaseModel, ConfigDict

_Z95 = 1.959963984540054


def wilson(successes: int, total: int) -> tuple[float, float]:
    """Returns the 95 % Wilson score interval of a share; (0, 1) when nothing was counted.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if total == 0:
        return 0.0, 1.0
    share, z2 = successes / total, _Z95**2
    centre = share + z2 / (2 * total)
    spread = _Z95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    low, high = (centre - spread) / (1 + z2 / total), (centre + spread) / (1 + z2 / total)
    # Rounding must not push an end past the share itself.
    return max(0.0, min(low, share)), min(1.0, max(high, share))


class Share(BaseModel):
    """``successes`` of ``total``. Nothing counted is "unknown": `value` is None, never 0/0."""

    model_config = ConfigDict(frozen=True)

    successes: int
    total: int

    @property
    def value(self) -> float | None:
        """The share, or None where nothing was counted."""
        return self.successes / self.total if self.total else None

    @property
    def low(self) -> float:
        """Lower end of the 95 % Wilson interval."""
        return wilson(self.successes, self.total)[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % Wilson interval."""
        return wilson(self.successes, self.total)[1]

    def __str__(self) -> str:
        """Returns e.g. ``93.2 % [90.7, 95.1]``."""
        if self.value is None:
            return "unknown"
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"
