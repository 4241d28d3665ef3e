"""Metrics are read as they come."""

from pathlib import Path

from flowrl.files import append_line, write_text
from flowrl.jobs.watched import MetricsReader
from flowrl.schema.metrics import PlayingRow


def row(number: int) -> PlayingRow:
    return PlayingRow(played=number, wanted=9)


def line(number: int) -> str:
    return f"{row(number).model_dump_json()}\n"


def test_rows_are_read_once_as_they_come_and_after_a_rewrite_too(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    reader = MetricsReader(file)
    assert reader.new_rows() == []
    file.write_text(line(1) + line(2) + line(3)[:9])
    assert reader.new_rows() == [row(1), row(2)]
    with file.open("a") as more:
        more.write(line(3)[9:])
    assert reader.new_rows() == [row(3)] and reader.new_rows() == []
    write_text(file, line(1))  # a run that resumes from a checkpoint drops rows and writes them again
    assert reader.new_rows() == []
    append_line(file, row(2))
    assert reader.new_rows() == [row(2)]
    file.write_text(file.read_text() + f"{line(3)[:9]}\n" + line(4))
    assert reader.new_rows() == [row(4)], "a line that a killed worker left half-written is left out"
