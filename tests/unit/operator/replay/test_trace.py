"""Traces of Azure's form."""

from __future__ import annotations

from pathlib import Path

import pytest
from outrider_operator.autoscaling.replay.trace import Request, TraceError, read_trace, sped_up

HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "trace.csv"
    file.write_text(text)
    return file


def test_times_are_those_since_the_first_request(tmp_path: Path) -> None:
    file = written(tmp_path, HEAD + "2023-11-16 18:15:50.5000000,10,3\n2023-11-16 18:15:46.2500000,374,44")
    assert read_trace(file) == [Request(0.0, 374, 44), Request(4.25, 10, 3)]


def test_other_columns_their_order_and_line_ends_do_not_matter(tmp_path: Path) -> None:
    file = written(tmp_path, "GeneratedTokens,model,TIMESTAMP,ContextTokens\r\n44,a,2024-05-10 00:00:00+00:00,374\r\n")
    assert read_trace(file) == [Request(0.0, 374, 44)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "trace.csv:1: no column TIMESTAMP; the first line must be TIMESTAMP,ContextTokens,GeneratedTokens"),
        ("TIMESTAMP,ContextTokens\n", "trace.csv:1: no column GeneratedTokens;"),
        (HEAD, "trace.csv: holds no request;"),
        (HEAD + "2023-11-16 18:15:46,5,5\nnow,5,5\n", "trace.csv:3: TIMESTAMP 'now' is no time; write it as"),
        (HEAD + "2023-11-16 18:15:46,5\n", "trace.csv:2: GeneratedTokens '' is no number of tokens; write 1 or more"),
        (
            HEAD + "2023-11-16 18:15:46,-5,5\n",
            "trace.csv:2: ContextTokens '-5' is no number of tokens; write 0 or more",
        ),
        (HEAD + "2023-11-16 18:15:46,5,0\n", "trace.csv:2: GeneratedTokens '0' is no number"),
        (HEAD + "2023-11-16 18:15:46,5,5\n2023-11-16 18:15:46Z,5,5\n", "trace.csv: some times have a time zone"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError) as error:
        read_trace(written(tmp_path, text))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"missing\.csv: cannot be read"):
        read_trace(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(TraceError, match="not text"):
        read_trace(tmp_path / "binary.csv")


def test_sped_up_and_cut() -> None:
    trace = [Request(0.0, 1, 1), Request(50.0, 2, 2), Request(100.0, 3, 3)]
    assert sped_up(trace, 5.0) == [Request(0.0, 1, 1), Request(10.0, 2, 2), Request(20.0, 3, 3)]
    assert sped_up(trace, 5.0, duration_s=20.0) == [Request(0.0, 1, 1), Request(10.0, 2, 2)]
