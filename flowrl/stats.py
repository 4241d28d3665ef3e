"""Shares with honest intervals."""

import math

from pydantic import BaseModel, ConfigDict

MARGIN = 0.02
"""A loss of so much is none (of non-inferiority)."""
_Z95 = 1.959963984540054


def wilson(successes: int, total: int) -> tuple[float, float]:
    """A share's 95 % Wilson score interval. (0, 1) when nothing was counted.

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
        """The share or None where nothing was counted."""
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
        """E.g. ``93.2 % [90.7, 95.1]``."""
        if self.value is None:
            return "unknown"
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


class PairedDifference(BaseModel):
    """The difference between two shares on the same worlds. One minus the other.

    Attributes:
        gained: worlds where only the one succeeds.
        lost: worlds where only the other succeeds.
    """

    model_config = ConfigDict(frozen=True)

    gained: int
    lost: int
    total: int

    @property
    def value(self) -> float | None:
        """The difference or None where nothing was played."""
        return (self.gained - self.lost) / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference. (-1, 1) where nothing was played.

        Source: Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions based
        on paired data".
        """
        if not self.total:
            return -1.0, 1.0
        n = self.total + 2
        gained, lost = (self.gained + 1) / n, (self.lost + 1) / n
        spread = _Z95 * math.sqrt((gained + lost - (gained - lost) ** 2) / n)
        return max(-1.0, gained - lost - spread), min(1.0, gained - lost + spread)

    @property
    def is_gain(self) -> bool:
        """Whether the one is better beyond doubt. The lower end of the interval lies above zero."""
        return self.interval[0] > 0

    @property
    def is_no_loss(self) -> bool:
        """Whether the one is surely not worse by more than `MARGIN`."""
        return self.interval[0] > -MARGIN

    def __str__(self) -> str:
        """E.g. ``+3.1 points [1.2, 5.0]``."""
        if self.value is None:
            return "unknown"
        low, high = self.interval
        return f"{100 * self.value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
