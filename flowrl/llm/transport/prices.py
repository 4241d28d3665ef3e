"""Token prices. The user's own table first, then an offline table of known models."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from flowrl.errors import UsageError
from flowrl.llm.transport.endpoint import OPENAI_URL
from flowrl.schema.frozen import Frozen

EXAMPLE = '["my-model"]\ninput = 0.15\noutput = 0.6'
"""A table of prices, as a message shows it."""

_Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Price(Frozen):
    """US dollars for a million tokens, in and out."""

    input: _Dollars
    output: _Dollars


@dataclass(frozen=True)
class Prices:
    """The prices of one endpoint.

    Attributes:
        own: the user's prices by model; they come first.
        base_url: of the endpoint. A local server has no known price unless ``own`` gives one: a model of the same name
            has a price elsewhere, and electricity is not free.
    """

    own: Mapping[str, Price] = field(default_factory=dict)
    base_url: str = OPENAI_URL

    def cost(self, model: str, tokens_in: int, tokens_out: int) -> float | None:
        """US dollars, without discount for cached tokens. None if the price is unknown."""
        if model in self.own:
            price = self.own[model]
            return (tokens_in * price.input + tokens_out * price.output) / 1e6
        try:
            from genai_prices import Usage, calc_price

            usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out)
            return float(calc_price(usage, model, provider_api_url=self.base_url).total_price)
        except (ImportError, LookupError):  # the package, the model or the provider is missing
            return None

    def knows(self, model: str) -> bool:
        """Whether the model has a price."""
        return self.cost(model, 1, 1) is not None


def read_prices(file: Path) -> dict[str, Price]:
    """The prices by model of a TOML file.

    Raises:
        UsageError: the file is missing or is no table of prices; shows an example.
    """
    try:
        return TypeAdapter(dict[str, Price]).validate_python(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"The price table {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[:3])
        raise UsageError(
            f"{file} is no table of prices: {reason}. It has US dollars per million tokens for each model:\n{EXAMPLE}"
        ) from error
