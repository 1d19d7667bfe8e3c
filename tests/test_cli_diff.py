"""refnum diff: what it says, how it ends, and the files that it refuses without being harmed."""

from __future__ import annotations

import html.parser
import json
import os
import signal
import struct
import subprocess
import sys
import weakref
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import refnum

pytest.importorskip("typer", reason="the command line needs the extra cli")

from refnum.cli import diff, run, status

Numpy = dict[str, Any]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which a command line is refused."""
    assert run(["diff", *arguments]) == status.BAD_INPUT
    output = capsys.readouterr()
    assert not output.out
    (line,) = output.err.splitlines()
    return line.removeprefix("refnum: ").removeprefix("Invalid value: ").removesuffix(" Try: refnum diff --help")


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    """The status and the lines of output."""
    code = run(["diff", *arguments])
    output = capsys.readouterr()
    assert not output.err
    return code, output.out.splitlines()


def facts(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """The status and the JSON, tensors by name."""
    code, (line,) = told(capsys, *arguments, "--json")
    found = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return code, found | {"tensors": {x["name"]: x for x in found["tensors"]}}


# ---- what it says -------------------------------------------------------------------------------------------------


def test_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("out.npz", w=np.array([[1.0, 2.0], [3.0, 4.0]], "f4"), n=np.arange(3), extra=np.zeros(2), s=np.zeros(3))
    np.savez("want.npz", w=np.array([[1.0, 2.0], [3.0, 4.000001]], "f4"), n=np.arange(3), s=np.zeros((1, 3)))
    code, lines = told(capsys, "out.npz", "want.npz")
    assert code == status.MISMATCH
    assert lines == [
        "  tensor    shape     dtype                  mismatched   worst",
        "  w        (2, 2)   float32                      1 of 4   2 ULP",
        "  n          (3,)     int64                           0",
        "  extra      (2,)   float64                   only in A",
        "  s          (3,)   float64   shape (3,) against (1, 3)",
        "",
        "w",
        "  shape (2, 2)  dtype torch.float32  mismatched 1 of 4 (25.00 %)  worst 2 ULP",
        "  index      got bits    want bits   got         want   ULP",
        "  [1, 1]   0x40800000   0x40800002     4   4.00000095    -2",
        "  ULP    0: 3  1: 0  2: 1  3: 0  >=4: 0     rows 1..1, columns 1..1",
        "",
        "3 of 4 tensors not bit-equal",
    ]
    assert told(capsys, "out.npz", "want.npz", "--key", "w", "--key", "n", "--ulp", "2") == (
        status.DONE,
        [
            "  tensor    shape     dtype   mismatched   worst",
            "  w        (2, 2)   float32            0",
            "  n          (3,)     int64            0",
            "",
            "2 tensors  ok  within 2 ULP",
        ],
    )


def test_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("a.npz", x=np.array([np.nan, np.inf, 1.0]), y=np.zeros(()))
    np.savez("b.npz", x=np.array([1.0, -np.inf, 1.0]), z=np.zeros(1))
    code, found = facts(capsys, "a.npz", "b.npz", "--ulp", "0")
    assert (code, found["equal"], found["ulp"], found["got"], found["want"]) == (1, False, 0, "a.npz", "b.npz")
    report = found["tensors"]["x"]["report"]
    assert (report["mismatched"], report["total"], report["nans"]) == (2, 3, 1)
    assert report["elements"][0] == {
        "index": [0],
        "ulp": 2**63 - 1,
        "got_bits": "0x7ff8000000000000",
        "want_bits": "0x3ff0000000000000",
        "got": "nan",
        "want": "1",
    }
    assert (found["tensors"]["y"]["reason"], found["tensors"]["z"]["reason"]) == ("only in A", "only in B")


class Page(html.parser.HTMLParser):
    """Tags and text of a page; a tag that is not closed in order is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not {name for name, _ in attrs} & {"src", "href", "onload"}
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.cells.append(data)


def test_the_page_stands_alone_and_has_the_numbers_of_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    names = ("plain", "<script>alert(1)</script>")
    np.savez("a.npz", **{name: rng.standard_normal((5, 4)) for name in names})
    np.savez("b.npz", **{name: rng.standard_normal((5, 4)) for name in names})
    code, found = facts(capsys, "a.npz", "b.npz", "--html", "diff.html")
    assert code == status.MISMATCH
    text = Path("diff.html").read_text()
    page = Page()
    page.feed(text)
    assert not page.open
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert "http" not in text
    for name in names:
        report = found["tensors"][name]["report"]
        assert name in page.cells
        assert f"{report['mismatched']} of {report['total']}" in page.cells
        for x in report["elements"]:
            row = [str(x["index"]), x["got_bits"], x["want_bits"], x["got"], x["want"], f"{x['ulp']:+d}"]
            at = page.cells.index(row[0], page.cells.index(row[1]) - 1)
            assert page.cells[at : at + 6] == row


def test_names_from_a_file_do_not_reach_the_terminal_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("a.npz", **{"w\x1b[31m[red]\n": np.zeros(1)})
    code, lines = told(capsys, "a.npz", "a.npz")
    assert code == status.DONE
    assert lines[1].split()[0] == r"w\x1b[31m[red]\n"


# ---- what is compared with what -----------------------------------------------------------------------------------


def test_every_kind_of_file_against_every_other(capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    np.save("x.npy", x.numpy())
    np.save("fortran.npy", np.asfortranarray(x.numpy()).astype(">f4"))
    np.savez_compressed("x.npz", x=x.numpy())
    torch.save(x, "x.pt")
    torch.save({"x": x.T.contiguous().T}, "x.pth")
    kinds = ["x.npy", "fortran.npy", "x.npz", "x.pt", "x.pth"]
    try:
        from safetensors.torch import save_file
    except ImportError:
        pass
    else:
        save_file({"x": x}, "x.safetensors")
        kinds.append("x.safetensors")
    for a in kinds:
        for b in kinds:
            assert told(capsys, a, b)[0] == status.DONE, (a, b)


def test_a_tensor_without_a_name_is_paired_only_where_that_is_certain(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("x.npy", np.ones(2))
    np.savez("two.npz", x=np.ones(2), y=np.ones(2))
    np.savez("other.npz", z=np.ones(2))
    np.savez("one.npz", x=np.ones(2))
    assert told(capsys, "x.npy", "one.npz")[0] == status.DONE
    code, lines = told(capsys, "x.npy", "two.npz")
    assert code == status.MISMATCH
    assert lines[1].split()[:2] == ["the", "tensor"]
    assert told(capsys, "one.npz", "other.npz")[0] == status.MISMATCH


def test_containers_of_a_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    state = {"model": {"w": torch.ones(2), "b": [torch.zeros(1), torch.zeros(2)]}, "epoch": 3, "name": "run"}
    torch.save(state, "a.pt")
    code, lines = told(capsys, "a.pt", "a.pt")
    assert code == status.DONE
    assert [line.split()[0] for line in lines[1:4]] == ["model.w", "model.b.0", "model.b.1"]
    assert "left out of A, being no tensors: epoch, name" in lines


def test_codes_are_read_in_their_format(capsys: pytest.CaptureFixture[str]) -> None:
    a, b = np.array([0x38, 0x7F, 0x80], "u1"), np.array([0x39, 0xFF, 0x00], "u1")
    np.savez("a.npz", q=a, scales=a, f=np.zeros(1), n=np.zeros(1, bool))
    np.savez("b.npz", q=b, scales=a, f=np.zeros(1), n=np.zeros(1, bool))
    for fmt in (["--fmt", "e4m3"], ["--fmt", "q=e4m3"], ["--fmt", "e8m0", "--fmt", "q=e4m3"]):
        code, found = facts(capsys, "a.npz", "b.npz", *fmt, "--ulp", "1")
        assert code == status.DONE
        assert found["tensors"]["q"]["format"] == "e4m3"
        assert found["tensors"]["f"]["format"] is None
    code, found = facts(capsys, "a.npz", "b.npz", "--fmt", "posit8")  # uint8 holds all patterns
    assert code == status.MISMATCH
    assert found["tensors"]["q"]["report"]["histogram"] == {"0": 0, "1": 1, "2": 0, "3": 0, ">=4": 2}
    code, found = facts(capsys, "a.npz", "b.npz", "--fmt", "q=e2m1", "--packed")
    assert found["tensors"]["q"]["report"]["total"] == 6


@pytest.mark.parametrize(("name", "fmt"), [("bfloat16", "bfloat16"), ("float8_e4m3fn", "e4m3"), ("uint16", "posit16")])
def test_numbers_that_numpy_has_no_name_for(name: str, fmt: str, capsys: pytest.CaptureFixture[str]) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    x = np.arange(1, 200, dtype=f"u{dtype.itemsize}").view(dtype)
    np.savez("a.npz", x=x)
    np.savez("b.npz", x=(x.view(f"u{dtype.itemsize}") - 1).view(dtype))
    assert told(capsys, "a.npz", "b.npz", "--fmt", fmt, "--ulp", "1", "--key", "x")[0] == (fmt == "e4m3")  # its NaN
    assert facts(capsys, "a.npz", "b.npz", "--fmt", fmt)[1]["tensors"]["x"]["format"] == fmt


def test_safetensors_has_the_dtypes_of_torch(capsys: pytest.CaptureFixture[str]) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    x = torch.arange(16, dtype=torch.uint8)
    x8, x4 = x.view(torch.float8_e5m2), x.clone().view(torch.float4_e2m1fn_x2)
    save_file({"x8": x8, "x4": x4, "bf": x.bfloat16()}, "a.safetensors")
    save_file({"x8": x8, "x4": (x ^ 1).view(x4.dtype), "bf": x.bfloat16()}, "b.safetensors")
    code, found = facts(capsys, "a.safetensors", "b.safetensors")
    assert code == status.MISMATCH
    assert [found["tensors"][name]["equal"] for name in ("x8", "x4", "bf")] == [True, False, True]
    assert found["tensors"]["x4"]["report"]["format"] == "e2m1"
    assert found["tensors"]["x4"]["report"]["mismatched"] == 16


def test_one_pair_is_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez("a.npz", **{str(i): np.full(3, i) for i in range(5)})
    earlier: list[weakref.ref[torch.Tensor]] = []
    compare = diff.compare

    def noted(function: str, *arguments: Any, **knobs: Any) -> Any:
        assert not [x for x in earlier if x() is not None]
        earlier.extend(weakref.ref(x) for x in arguments[:2])
        return compare(function, *arguments, **knobs)

    monkeypatch.setattr(diff, "compare", noted)
    assert run(["diff", "a.npz", "a.npz"]) == status.DONE
    assert len(earlier) == 10


# ---- what is refused ----------------------------------------------------------------------------------------------


def test_words_that_are_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("a.npz", weight=np.zeros(3), codes=np.zeros(3, "u1"))
    np.savez("empty.npz")
    np.savez("complex.npz", z=np.zeros(2, "u8"))
    for arguments, text in {
        ("no.npz", "a.npz"): "no.npz is not read: there is no such file. Name one that is there.",
        (
            "a.txt",
            "a.npz",
        ): "a.txt is not read: its name ends in .txt. Allowed are .npy, .npz, .pt, .pth, .safetensors. Convert it.",
        ("a.npz", "a.npz", "--key", "wieght"): "Invalid value for --key: no tensor is named 'wieght'. Near it: weight. "
        "Allowed are names in either file.",
        ("a.npz", "a.npz", "--fmt", "wieght=e4m3"): "Invalid value for --fmt: no tensor is named 'wieght'. Near it: "
        "weight. Write FORMAT, or NAME=FORMAT.",
        ("a.npz", "a.npz", "--fmt", "e4m3", "--key", "weight"): "Invalid value for --fmt: codes are integers, and no "
        "tensor holds any. Leave it out.",
        (
            "a.npz",
            "a.npz",
            "--packed",
        ): "Invalid value for --packed: packed are codes of 4 bits. Name their format with --fmt.",
        (
            "a.npz",
            "a.npz",
            "--html",
            "no/folder.html",
        ): "Invalid value for --html: no/folder.html cannot be written (No "
        "such file or directory). Name a file in a folder that can.",
        ("empty.npz", "empty.npz"): "Invalid value for A B: neither file holds a tensor. Name files that do.",
        ("a.npz", "a.npz", "--fmt", "mxfp4"): "mxfp4 is a format of blocks, not of single values.",
        ("a.npz", "a.npz", "--fmt", "e4m4"): "No format is named 'e4m4'. Near it: e4m3, ",
        ("a.npz", "a.npz", "--fmt", "posit16", "--key", "codes"): "refnum diff of codes needs posit16 patterns for got",
        (
            "a.npz",
            "a.npz",
            "--fmt",
            "weight=e4m3",
        ): "refnum diff of weight needs e4m3 patterns for got, got torch.float64",
        ("complex.npz", "complex.npz"): "refnum diff of z cannot compare torch.uint64 for got.",
        ("a.npz", "a.npz", "--ulp", "-1"): "Invalid value for '--ulp'",
    }.items():
        assert refused(capsys, *arguments).startswith(text), arguments


class Evil:
    """Runs code when it is unpickled without weights_only."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


def test_a_pickle_is_refused_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"x": torch.ones(1), "evil": Evil()}, "evil.pt")
    assert refused(capsys, "evil.pt", "evil.pt") == (
        "evil.pt is not read: its pickle names posix.mkdir, and unpickling can run any code. Save tensors, "
        "numbers, lists and dicts alone."
    )
    np.savez("evil.npz", o=np.array([Evil(), None]), x=np.ones(1))
    assert refused(capsys, "evil.npz", "evil.npz") == (
        "evil.npz is not read: o.npy is an array of objects, which is a pickle, and unpickling can run any code. Save "
        "numbers, or each object's arrays by name."
    )
    np.save("evil.npy", np.array([Evil(), None]))
    assert "the array is an array of objects" in refused(capsys, "evil.npy", "evil.npy")
    assert not Path("ran").exists()
    assert told(capsys, "evil.npz", "evil.npz", "--key", "x")[0] == status.DONE  # what is not looked at is not read


def _header(text: str) -> bytes:
    padded = text.ljust(-(-len(text) // 64) * 64 + 53) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode()


def test_sizes_are_checked_before_anything_is_allocated(capsys: pytest.CaptureFixture[str]) -> None:
    huge = _header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}")
    Path("huge.npy").write_bytes(huge + bytes(80))
    assert refused(capsys, "huge.npy", "huge.npy") == (
        "huge.npy is not read: the array of (1000000, 1000000) float64 needs 8,000,000,000,000 bytes and has 80. Write "
        "it again."
    )
    Path("negative.npy").write_bytes(
        _header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -10)}") + bytes(80)
    )
    assert "(-1, -10) float64 needs 80 bytes" in refused(capsys, "negative.npy", "negative.npy")
    for shape in ("(0, 10**30)", "(0, 1" + 40 * "0" + ")", "(0, -1)"):
        Path("none.npy").write_bytes(_header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}"))
        assert "none.npy is not read: " in refused(capsys, "none.npy", "none.npy")
    with zipfile.ZipFile("bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", huge + bytes(80))
    data = Path("bomb.npz").read_bytes()
    size = len(huge) + 80
    lie = data.replace(struct.pack("<I", size), struct.pack("<I", 1 << 31))  # what it claims to hold
    Path("bomb.npz").write_bytes(lie)
    assert "x claims to be larger than its bytes can be" in refused(capsys, "bomb.npz", "bomb.npz")
    with zipfile.ZipFile("bzip.npz", "w", zipfile.ZIP_BZIP2) as archive:  # which may grow by any factor
        archive.writestr("x.npy", huge)
    assert "x is not compressed by deflate" in refused(capsys, "bzip.npz", "bzip.npz")


def test_broken_files(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("good.npz", x=np.arange(1000.0))
    np.save("good.npy", np.arange(1000.0))
    torch.save({"x": torch.arange(1000.0)}, "good.pt")
    kinds = [".npz", ".npy", ".pt"]
    if (library := pytest.importorskip("safetensors.torch")) is not None:
        library.save_file({"x": torch.arange(1000.0)}, "good.safetensors")
        kinds.append(".safetensors")
    rng = np.random.default_rng(0)
    for kind in kinds:
        good = Path(f"good{kind}").read_bytes()
        broken = {"empty": b"", "junk": b"no tensors at all", "cut": good[:-9], "half": good[: len(good) // 2]}
        for name, data in broken.items():
            Path(f"{name}{kind}").write_bytes(data)
            assert f"{name}{kind} is not read: " in refused(capsys, f"{name}{kind}", f"good{kind}"), (name, kind)
        for place in rng.integers(0, len(good), 25):  # one byte wrong: the tensor differs, or the file is refused
            Path(f"bent{kind}").write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
            assert run(["diff", f"bent{kind}", f"good{kind}"]) in (status.DONE, status.MISMATCH, status.BAD_INPUT)
            capsys.readouterr()


def test_containers_without_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    loop: list[Any] = [torch.ones(1)]
    loop.append(loop)
    torch.save(loop, "loop.pt")
    assert "its containers have no end, or nearly none" in refused(capsys, "loop.pt", "loop.pt")
    torch.save({"a.b": torch.ones(1), "a": {"b": torch.ones(1)}}, "twice.pt")
    assert "two tensors are named a.b" in refused(capsys, "twice.pt", "twice.pt")


def test_strides_that_make_much_of_little(capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"x": torch.ones(1).expand(10**9, 10**9)}, "vast.pt")
    assert refused(capsys, "vast.pt", "vast.pt") == (
        "vast.pt is not read: x claims to be larger than its bytes can be. Save a contiguous copy."
    )


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.ones(2, dtype=torch.complex64), "refnum diff of x cannot compare torch.complex64 for got."),
        (torch.ones(2).to_sparse(), "refnum diff of x needs a dense tensor for got, got layout torch.sparse_coo."),
        (torch.ones(2, device="meta"), "refnum diff of x reads the values of got, and a meta tensor has none."),
        (torch.nn.Linear(1, 1), "its pickle names torch.nn.modules.linear.Linear, and unpickling can run any code."),
        (3, "Invalid value for A B: neither file holds a tensor."),
    ],
)
def test_contents_that_cannot_be_compared(tensor: object, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"x": tensor}, "x.pt")
    assert words in refused(capsys, "x.pt", "x.pt")


def test_safetensors_is_an_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("x.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    text = refused(capsys, "x.safetensors", "x.safetensors")
    assert text.startswith("Reading .safetensors needs safetensors, which cannot be imported")
    assert text.endswith("Run: python -m pip install 'refnum[cli]'")


# ---- how it ends --------------------------------------------------------------------------------------------------


def test_a_page_is_written_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez("a.npz", x=np.zeros(3))
    page = Path("page.html")
    page.write_text("before")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda *_: os.kill(os.getpid(), signal.SIGINT))
            assert run(["diff", "a.npz", "a.npz", "--html", "page.html"]) == status.INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, before)
    assert page.read_text() == "before"
    assert sorted(path.name for path in Path().iterdir()) == ["a.npz", "page.html"]
    assert run(["diff", "a.npz", "a.npz", "--html", "page.html"]) == status.DONE
    assert page.read_text().startswith("<!doctype html>")


def test_nobody_reads_on() -> None:
    # More text than a pipe and a buffer hold: the command cannot have ended before the reader goes.
    np.savez("a.npz", **{f"{i:0100}": np.zeros(1) for i in range(1500)})
    code = "import sys; from refnum.cli import main; sys.argv = ['refnum', 'diff', 'a.npz', 'a.npz']; main()"
    root = str(Path(refnum.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": root, "PATH": ""},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == status.CLOSED
    process.stderr.close()
