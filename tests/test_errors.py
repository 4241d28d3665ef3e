"""What errors say of names."""

from flowrl.errors import nearest_names


def test_nearest_names_do_not_mind_case() -> None:
    assert nearest_names("collect wod", ["Eat Cow", "Collect Wood"]) == "Did you mean 'Collect Wood'?"
    assert nearest_names("zzz", ["Eat Cow"]) == "Known: Eat Cow."
