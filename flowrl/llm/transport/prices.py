"""What tokens cost: the user's own table first, then a table of known models that needs no network."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from flowrl.errors import UsageError
from flowrl.llm.transport.endpoint import OPENAI_URL

EXAMPLE = '["my-model"]\ninput = 0.15\noutput = 0.6'
"""A table of prices, as a message shows it."""

_Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Price(BaseModel):
    """US dollars for a million tokens read and for a million tokens written."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    input: _Dollars
    output: _Dollars


@dataclass(frozen=True)
class Prices:
    """The prices of one endpoint.

    Attributes:
        own: prices by model that the user gave; they count before any other.
        base_url: of the endpoint. What a server on this machine costs is unknown unless ``own`` says so: a model of the
            same name has a price elsewhere, and electricity is not free.
    """

    own: Mapping[str, Price] = field(default_factory=dict)
    base_url: str = OPENAI_URL

    def cost(self, model: str, tokens_in: int, tokens_out: int) -> float | None:
        """Returns US dollars, None where the price is unknown; no discount for cached tokens is taken off."""
        if model in self.own:
            price = self.own[model]
            return (tokens_in * price.input + tokens_out * price.output) / 1e6
        return _published(model, self.base_url, tokens_in, tokens_out)

    def knows(self, model: str) -> bool:
        """Returns whether the model has a price here."""
        return self.cost(model, 1, 1) is not None


def _published(model: str, base_url: str, tokens_in: int, tokens_out: int) -> float | None:
    """Returns what the table shipped with genai-prices says; None where it, the model or the provider is missing."""
    try:
        from genai_prices import Usage, calc_price
    except ImportError:
        return None
    usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out)
    try:
        return float(calc_price(usage, model, provider_api_url=base_url).total_price)
    except LookupError:
        return None


def read_prices(file: Path) -> dict[str, Price]:
    """Returns the prices by model of a TOML file.

    Raises:
        UsageError: the file is missing or is no table of prices; an example is given.
    """
    try:
        rows = tomllib.loads(file.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, Price]).validate_python(rows)
    except OSError as error:
        raise UsageError(f"The price table {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[:3])
        raise UsageError(
            f"{file} is no table of prices: {reason}. It has US dollars per million tokens for each model:\n{EXAMPLE}"
        ) from error
