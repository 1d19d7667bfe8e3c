"""Test vectors as lines of text: what is written, what is read, and what is refused."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator

import pytest
import torch

from refnum import FormatError, Posit
from refnum.formats import FixedPoint, e2m1, e2m3, float64, parse_scalar, posit16, posit64, tf32
from refnum.testing import lines
from refnum.testing.lines import Layout, Words, unsigned

#: every length of a word that formats have: 1, 2, 2, 4, 5, 8, 16 digits; with all the bits of its digits, and with less
WORDS = (
    Words("nibbles", e2m1, 3),
    Words("six", e2m3, 2),
    Words("five", Posit(5)),
    Words("half", posit16, 2),
    Words("odd", tf32, 2),
    Words("word", parse_scalar("float32")),
    Words("long", posit64, 2),
)
LAYOUT = Layout("mixed", WORDS)
SMALL = Layout("posit16_abs", (Words("a", posit16), Words("result", posit16)))


def some(count: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Codes of every bit pattern."""
    generator = torch.Generator().manual_seed(seed)
    limits = torch.iinfo(torch.int64)
    return tuple(torch.randint(limits.min, limits.max, (count, words.count), generator=generator) for words in WORDS)


def by_python(codes: tuple[torch.Tensor, ...]) -> str:
    """Lines as Python itself formats integers."""
    rows = []
    for case in range(len(codes[0])):
        row = ["mixed"]
        for words, column in zip(WORDS, codes, strict=True):
            mask = (1 << words.fmt.width) - 1
            row += [f"{code & mask:0{-(-words.fmt.width // 4)}x}" for code in column[case].tolist()]
        rows.append(" ".join(row) + "\n")
    return "".join(rows)


def read(text: bytes, layout: Layout = LAYOUT) -> tuple[list[int], tuple[torch.Tensor, ...]]:
    """Line numbers and codes of a text."""
    parts = list(layout.read(io.BytesIO(text)))
    numbers = [number for part in parts for number in part.numbers]
    return numbers, tuple(torch.cat(columns) for columns in zip(*(part.codes for part in parts), strict=True))


def same(got: tuple[torch.Tensor, ...], want: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(x, unsigned(y, words.fmt)) for x, y, words in zip(got, want, WORDS, strict=True))


def test_lines_are_those_of_python() -> None:
    codes = some(200)
    assert LAYOUT.text(codes).decode() == by_python(codes)
    assert {len(line) for line in by_python(codes).splitlines(keepends=True)} == {LAYOUT.length}


def test_what_is_written_is_read() -> None:
    codes = some(200)
    numbers, got = read(LAYOUT.text(codes))
    assert numbers == list(range(1, 201))
    assert same(got, codes)


def untidy(text: str) -> Iterator[str]:
    """The same cases as somebody else may write them."""
    yield "# a comment\n\n"
    for i, line in enumerate(text.splitlines()):
        name, *words = line.split()
        yield (
            f"{name} {' '.join(words).upper()}\n",
            f"  {name}\t{'  '.join(words)}  \n",
            f"{line}\r\n",
            f"{line} # {line}\n",
            f"{line}\n   \n#\n",
        )[i % 5]


@pytest.mark.parametrize("page", [1, 64, 1000, 1 << 20])
def test_untidy_lines_are_read(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever part of a line is at the end of what is read at once."""
    monkeypatch.setattr(lines, "PAGE", page)
    codes = some(20)
    text = "".join(untidy(LAYOUT.text(codes).decode()))
    numbers, got = read(text.encode())
    assert same(got, codes)
    assert [text.split("\n")[number - 1].split()[0] for number in numbers] == ["mixed"] * 20
    assert len(set(numbers)) == 20


def test_the_last_line_may_have_no_end() -> None:
    codes = some(3)
    assert same(read(LAYOUT.text(codes)[:-1])[1], codes)


def test_nothing_is_nothing() -> None:
    assert not list(LAYOUT.read(io.BytesIO(b"")))
    assert [list(part.numbers) for part in LAYOUT.read(io.BytesIO(b"# none\n\n"))] == [[]]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "posit16_abs ffff",
            "check needs 2 words behind posit16_abs (a, result), got 1 in line 3. Write the operands, ",
        ),
        ("posit16_abs ffff 0001 0001", "got 3 in line 3"),
        ("posit16_abs", "got 0 in line 3"),
        ("posit16_abs ffff 0001\rposit16_abs ffff 0001", "got 5 in line 3"),
        (
            "posit8_abs ff 01",
            "check needs lines of posit16_abs, got 'posit8_abs' in line 3. Check each by its own name.",
        ),
        ("ffff 0001", "got 'ffff' in line 3"),
        (
            "posit16_abs ffff 001",
            "check needs 4 hexadecimal digits for word 2 (result, posit16), got '001' in line 3. Write it as with %0",
        ),
        ("posit16_abs ffgf 0001", "for word 1 (a, posit16), got 'ffgf' in line 3"),
        ("posit16_abs 0xff 0001", "got '0xff' in line 3"),
        ("posit16_abs ffff -001", "got '-001' in line 3"),
        ("posit16_abs ffff +001", "got '+001' in line 3"),
        ("posit16_abs ffff 0_01", "got '0_01' in line 3"),
        ("posit16_abs \u0661\u0661\u0661\u0661 0001", r"got '\\xd9\\xa1"),
        ("posit16_abs " + "f" * 1000 + " 0001", f"got '{'f' * 40}' in line 3"),
        ("posit16_abs ffff\0" + "0001", "got 1 in line 3"),
    ],
)
@pytest.mark.parametrize("before", ["posit16_abs ffff 0001\n" * 2, "# a comment\n\n"], ids=["page", "tidied"])
def test_a_wrong_line_is_named(before: str, line: str, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(f"{before}{line}\nposit16_abs ffff 0001\n".encode(), SMALL)
    assert words in str(caught.value)


def test_digits_may_hold_too_many_bits() -> None:
    layout = Layout("posit5_abs", (Words("a", Posit(5)), Words("result", Posit(5))))
    assert len(read(b"posit5_abs 1f 01\n", layout)[0]) == 1
    with pytest.raises(
        FormatError, match=r"at most 5 bits for result \(posit\(5,2\)\), got '21' in line 2. Leave other"
    ):
        read(b"posit5_abs 1f 01\nposit5_abs 1f 21\n", layout)


def test_a_line_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST", 1000)
    monkeypatch.setattr(lines, "PAGE", 256)
    with pytest.raises(
        FormatError, match=r"check needs lines of 22 bytes, got 1,022 without an end in line 2. Write one"
    ):
        read(b"#\n" + bytes(5000), SMALL)


class Endless(io.RawIOBase):
    """So many bytes of the same lines, of which none exists before it is read."""

    def __init__(self, line: bytes, bytes: int) -> None:
        self.line, self.left = line, bytes

    def read(self, size: int = -1) -> bytes:
        size = min(size, self.left) // len(self.line) * len(self.line)
        self.left -= size
        return self.line * (size // len(self.line))


@pytest.mark.parametrize("line", [b"posit16_abs ffff 0001\n", b"posit16_abs ffff 0001 \n"], ids=["page", "tidied"])
def test_memory_does_not_grow(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PAGE", 1 << 14)
    peaks = []
    for pages in (3, 30):
        tracemalloc.start()
        count = sum(len(part.numbers) for part in SMALL.read(Endless(line, pages << 14)))  # type: ignore[arg-type]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count >= (pages << 14) // len(line) - pages
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[0] > 1 << 14


def test_words_of_elements() -> None:
    layout = Layout("x", (Words("element", FixedPoint(8, 6)), Words("y", float64)))
    assert layout.text((torch.tensor([[-1]]), torch.tensor([[-2]]))) == b"x ff fffffffffffffffe\n"
