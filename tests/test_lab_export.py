"""Golden vectors: what is written is read back, and what is not as it was written is refused."""

from __future__ import annotations

import hashlib
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from refnum.errors import ContractError, DTypeError, FormatError, MismatchError, NonFiniteError, ShapeError
from refnum.formats import Exponent, FixedPoint, Minifloat, e4m3, e8m0, posit16
from refnum.lab import hexadecimal, manifests, readmemh
from refnum.lab.export import Port, export_readmemh, read_readmemh


def integers(bits: int, signed: bool, lanes: int, depth: int, seed: int) -> list[list[int]]:
    """Numbers of so many bits: ends, neighbours of 0, and any."""
    draw = random.Random(f"{bits} {signed} {lanes} {seed}")
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    corners = [x for x in (low, high, 0, 1, -1, low + 1, high - 1) if low <= x <= high]
    return [[draw.choice((*corners, draw.randint(low, high))) for _ in range(lanes)] for _ in range(depth)]


def limbs(number: int, bits: int) -> list[int]:
    """Limbs of 64 bits, the least first, as int64 has them."""
    words = [number >> 64 * i & (1 << 64) - 1 for i in range(-(-bits // 64))]
    return [word - (word >> 63 << 64) for word in words]


def tensor(rows: list[list[int]], bits: int) -> Tensor:
    return torch.tensor([[limbs(x, bits) for x in row] for row in rows], dtype=torch.int64, device="cpu")


def text(rows: list[list[int]], bits: int) -> str:
    """The words of rows, as Python writes them."""
    digits = -(-bits * len(rows[0]) // 4)
    mask = (1 << bits) - 1
    return "".join(f"{sum((x & mask) << bits * i for i, x in enumerate(row)):0{digits}x}\n" for row in rows)


# ---- there and back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [*range(1, 66), 100, 127, 128, 129, 256, 512])
def test_words_are_what_python_writes_and_come_back(bits: int, signed: bool, tmp_path: Path) -> None:
    for lanes in (1, 2, 3, 5, 17):
        rows = integers(bits, signed, lanes, 20, 0)
        port = Port("a", tensor(rows, bits), bits, signed=signed)
        manifest = export_readmemh(tmp_path, "v", [port])
        assert (tmp_path / "v.a.hex").read_text() == text(rows, bits)
        found = read_readmemh(manifest)
        assert torch.equal(found.ports["a"].codes, port.codes)
        assert found["a"].shape == ((20, lanes) if bits <= 64 else (20, lanes, -(-bits // 64)))


def test_vectors_longer_than_what_is_in_hand_at_once(tmp_path: Path) -> None:
    depth = 2 * hexadecimal.Layout(2, 12, signed=False).rows + 1
    rows = [[i % 4096, i // 4096] for i in range(depth)]
    manifest = export_readmemh(tmp_path, "long", [Port("a", tensor(rows, 12), 12, signed=False)])
    assert read_readmemh(manifest)["a"].tolist() == rows
    assert (tmp_path / "long.a.hex").read_text() == text(rows, 12)


def test_no_words_at_all(tmp_path: Path) -> None:
    empty = torch.zeros(0, 4, dtype=torch.int8)
    found = read_readmemh(export_readmemh(tmp_path, "none", [Port("a", empty, 8)]))
    assert (found.depth, found["a"].shape) == (0, (0, 4))


def test_the_manifest_says_what_the_files_hold(tmp_path: Path) -> None:
    ports = [
        Port("ma", torch.tensor([[1, -1, 0, 127], [-128] * 4], dtype=torch.int8), 8, fraction=6),
        Port("ea", torch.tensor([127, 0], dtype=torch.uint8), 8, "scale", signed=False, bias=127),
        Port("mo", torch.tensor([-5, 65536]), 18, "expected"),
    ]
    manifest = export_readmemh(tmp_path / "new" / "folder", "dot", ports, format={"element": "fixed(8,6)", "size": 4})
    written = manifest.read_text()
    fields = json.loads(written)
    assert manifest.name == "dot.json"
    assert written == json.dumps(fields, indent=1, sort_keys=True) + "\n"
    files = fields.pop("files")
    assert fields == {
        "version": 1,
        "name": "dot",
        "depth": 2,
        "value": "mant * 2**exp",
        "format": {"element": "fixed(8,6)", "size": 4},
        "rounding": None,
        "overflow": None,
    }
    assert [file.pop("sha256") for file in files] == [
        hashlib.sha256(words.encode()).hexdigest() for words in ("7f00ff01\n80808080\n", "7f\n00\n", "3fffb\n10000\n")
    ]
    lanes = {"lanes": 4, "lane_bits": 8, "bits": 32, "signed": True, "frac_bits": 6, "exp_bias": 0}
    scale = {"lanes": 1, "lane_bits": 8, "bits": 8, "signed": False, "frac_bits": 0, "exp_bias": 127}
    result = {"lanes": 1, "lane_bits": 18, "bits": 18, "signed": True, "frac_bits": 0, "exp_bias": 0}
    assert files == [
        {"file": "dot.ma.hex", "port": "ma", "kind": "mantissa", **lanes},
        {"file": "dot.ea.hex", "port": "ea", "kind": "scale", **scale},
        {"file": "dot.mo.hex", "port": "mo", "kind": "expected", **result},
    ]


def test_a_port_of_a_format_reads_the_low_bits_of_codes() -> None:
    codes = torch.tensor([0, 1, -1, 0x80])
    assert Port.of("a", codes, FixedPoint(8, 3)).codes.flatten().tolist() == [0, 1, -1, -128]
    assert Port.of("a", codes, e4m3).codes.flatten().tolist() == [0, 1, 255, 128]
    assert Port.of("a", codes, posit16).codes.flatten().tolist() == [0, 1, -1, 128]
    scale = Port.of("e", codes[:2], e8m0, "scale")
    assert (scale.bias, scale.signed, Port.of("a", codes, FixedPoint(8, 3)).fraction) == (127, False, 3)
    assert Port.of("t", codes, Exponent(4), "scale").codes.flatten().tolist() == [0, 1, -1, 0]
    assert Port.of("x", torch.tensor([-1]), Minifloat(11, 52, bias=1023)).codes.flatten().tolist() == [-1]  # 64 bits


# ---- what is refused ------------------------------------------------------------------------------------------------

ONE = torch.tensor([1])


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("a b", ONE, 8), {}, FormatError, "Port has no name='a b': files and ports are named after it. Allowed is "),
        (("../a", ONE, 8), {}, FormatError, "Port has no name='../a'"),
        (("a", ONE, 0), {}, FormatError, "Port has no bits=0. Allowed are 1 to 65536. Choose one of these."),
        (("a", ONE, True), {}, FormatError, "Port has no bits=True."),
        (("a", ONE, 8), {"fraction": 0.5}, FormatError, "Port has no fraction=0.5."),
        (("a", ONE, 8, "result"), {}, ContractError, "Port has no kind='result'. Choose one of mantissa, scale, exp"),
        (("a", ONE, 8), {"signed": 1}, ContractError, "Port has no signed=1. Choose one of True, False."),
        (("a", ONE.float(), 8), {}, DTypeError, "Port a needs integers for codes, got torch.float32. Allowed are "),
        (("a", [1], 8), {}, DTypeError, "Port needs a tensor for codes, got list."),
        (("a", torch.tensor(1), 8), {}, ShapeError, "Port a needs codes [depth, lanes, 1] for lanes of 8 bits, got []"),
        (("a", ONE, 65), {}, ShapeError, "Port a needs codes [depth, lanes, 2] for lanes of 65 bits, got [1, 1, 1]. "),
        (("a", torch.zeros(1, 9, dtype=torch.int8), 1 << 13), {}, ShapeError, "Port a needs codes"),
        (("a", torch.zeros(1, 1 << 11, dtype=torch.int8), 64), {}, FormatError, "Port a cannot have 2048 lanes of 64"),
        (("a", torch.tensor([128]), 8), {}, FormatError, "Port a needs codes of 8 bits, signed, got 128 to 128. Mask"),
        (("a", torch.tensor([-129]), 8), {}, FormatError, "Port a needs codes of 8 bits, signed, got -129 to -129."),
        (("a", -ONE, 8), {"signed": False}, FormatError, "Port a needs codes of 8 bits, without a sign, got -1 to -1."),
        (("a", torch.tensor([256]), 8), {"signed": False}, FormatError, "Port a needs codes of 8 bits, without a sign"),
        (
            ("e", torch.tensor([0, 255]), 8, "scale"),
            {"signed": False, "bias": 127},
            NonFiniteError,
            "Port e got the scale code 255, which is NaN, in word 1. Allowed are finite scales, or nan=True for a ",
        ),
    ],
)
def test_ports_that_are_none(arguments: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        Port(*arguments, **options)


def test_a_port_with_a_flag_takes_nan(tmp_path: Path) -> None:
    port = Port("e", torch.tensor([0, 255]), 8, "scale", signed=False, bias=127, nan=True)
    manifest = export_readmemh(tmp_path, "v", [port])
    assert json.loads(manifest.read_text())["files"][0]["nan"] is True
    assert read_readmemh(manifest)["e"].tolist() == [[0], [255]]
    rewrite(manifest, lambda fields: fields["files"][0].pop("nan"))
    with pytest.raises(NonFiniteError, match="Port e got the scale code 255"):
        read_readmemh(manifest)


@pytest.mark.parametrize("name", ["", ".", "..", "../v", "a/b", "/v", "a.b", "v\n", "ü", "v" * 101, 3])
def test_names_stay_in_the_folder(name: Any, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="export_readmemh has no name="):
        export_readmemh(tmp_path / "in", name, [Port("a", ONE, 8)])
    assert not list(tmp_path.rglob("*"))


def test_ports_that_do_not_go_together(tmp_path: Path) -> None:
    a, b = Port("a", ONE, 8), Port("b", torch.tensor([1, 2]), 8)
    with pytest.raises(ShapeError, match=re.escape("needs ports of one depth, one or more, got Port(a: mantissa")):
        export_readmemh(tmp_path, "v", [a, b])
    with pytest.raises(ShapeError, match="one or more, got none"):
        export_readmemh(tmp_path, "v", [])
    with pytest.raises(FormatError, match="needs ports of different names, got a, a"):
        export_readmemh(tmp_path, "v", [a, a])


@pytest.mark.parametrize("format", [{"a": [1]}, {"a": 0.5}, {1: "a"}, {"a": {}}, {"a": ONE}])
def test_formats_that_are_not_flat(format: Any, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"^The manifest v\.json has no format="):
        export_readmemh(tmp_path, "v", [Port("a", ONE, 8)], format=format)
    assert not (tmp_path / "v.json").exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("01\n")
    folder = tmp_path / "vectors"
    manifest = export_readmemh(folder, "v", [Port("a", ONE, 8)])
    (folder / "v.a.hex").unlink()
    (folder / "v.a.hex").symlink_to(precious)
    for run in (lambda: export_readmemh(folder, "v", [Port("a", ONE, 8)]), lambda: read_readmemh(manifest)):
        with pytest.raises(FormatError, match=re.escape("Vectors are no links, got v.a.hex, which is one.")):
            run()
    assert precious.read_text() == "01\n"


def test_a_disk_that_forgets_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readmemh, "read_readmemh", lambda path: other)
    other = readmemh.Vectors("v", 1, {"a": Port("a", ONE + 1, 8)}, {}, None, None)
    with pytest.raises(MismatchError, match=re.escape("export_readmemh read other codes from v.a.hex than it wrote.")):
        export_readmemh(tmp_path, "v", [Port("a", ONE, 8)])


# ---- tampering ------------------------------------------------------------------------------------------------------


def rewrite(manifest: Path, change: Any) -> None:
    """Change the fields of a manifest."""
    fields = json.loads(manifest.read_text())
    change(fields)
    manifest.write_text(json.dumps(fields))


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    port = Port("a", torch.tensor([[1, 2], [-3, 4], [5, -16]]), 5)
    return export_readmemh(tmp_path, "v", [port], rounding="nearest_even")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"041\n", b"042\n", "read_readmemh needs a sha256 of "),
        (b"041\n", b"041", "read_readmemh needs 12 bytes in v.a.hex, 3 words of 3 digits, got 11 bytes."),
        (b"041\n", b"041\n041\n", "read_readmemh needs 12 bytes in v.a.hex, 3 words of 3 digits, got 16 bytes."),
        (b"09d\n", b"09D\n", "read_readmemh needs 3 hexadecimal digits in lower case for 10 bits in line 2 of v.a.hex"),
        (b"041\n", b"0x1\n", "10 bits in line 1 of v.a.hex, got b'0x1\\n'. Allowed is what export_readmemh writes."),
        (b"041\n", b" 41\n", "10 bits in line 1 of v.a.hex, got b' 41\\n'."),
        (b"041\n09d\n", b"041\r09d\n", "10 bits in line 1 of v.a.hex, got b'041\\r'."),
        (b"041\n", b"441\n", "10 bits in line 1 of v.a.hex, got b'441\\n'."),
    ],
)
def test_changed_files(exported: Path, old: bytes, new: bytes, message: str) -> None:
    path = exported.with_name("v.a.hex")
    before = path.read_bytes()
    assert old in before, before
    path.write_bytes(before.replace(old, new))
    with pytest.raises(FormatError, match=re.escape(message)):
        read_readmemh(exported)


def test_a_file_that_is_gone(exported: Path) -> None:
    exported.with_name("v.a.hex").unlink()
    with pytest.raises(FormatError, match=r"needs 12 bytes in v\.a\.hex, 3 words of 3 digits, got no file"):
        read_readmemh(exported)


def _set(*path: Any) -> Any:
    *keys, last, value = path

    def change(fields: Any) -> None:
        for key in keys:
            fields = fields[key]
        fields[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("version", 2), "The manifest v.json has no version=2. Allowed is 1. Export the vectors again."),
        (_set("version", True), "The manifest v.json has no version=True."),
        (_set("name", "../v"), "has no name='../v'. Allowed is text like "),
        (_set("depth", -1), "has no depth=-1. Allowed is an integer from 0 to "),
        (_set("depth", 1 << 60), "has no depth="),
        (_set("depth", 3.0), "has no depth=3.0."),
        (_set("depth", 2), "needs 8 bytes in v.a.hex"),
        (_set("value", None), "has no value=None. Allowed is text."),
        (_set("rounding", 1), "has no rounding=1. Allowed is text or null."),
        (_set("format", {"a": []}), "has no format={'a': []}."),
        (_set("more", 1), "has no fields=["),
        (_set("files", []), "has no files=[]. Allowed is a list of one port or more."),
        (_set("files", {}), "has no files={}."),
        (_set("files", [7]), "The manifest v.json needs objects, got 7."),
        (_set("files", 0, "file", "v.b.hex"), "has no file='v.b.hex'. Allowed is 'v.a.hex'."),
        (_set("files", 0, "file", "/etc/passwd"), "has no file='/etc/passwd'. Allowed is 'v.a.hex'."),
        (_set("files", 0, "port", "../a"), "has no port='../a'."),
        (_set("files", 0, "kind", "result"), "has no kind='result'."),
        (_set("files", 0, "lanes", 0), "has no lanes=0."),
        (_set("files", 0, "lane_bits", 1 << 40), "has no lane_bits="),
        (_set("files", 0, "bits", 11), "has no bits=11. Allowed is 10."),
        (_set("files", 0, "signed", 0), "has no signed=0. Allowed is True or False."),
        (_set("files", 0, "frac_bits", 1 << 20), "has no frac_bits="),
        (_set("files", 0, "sha256", "0" * 63), "has no sha256="),
        (_set("files", 0, "sha256", "0" * 64), "needs a sha256 of 000"),
        (_set("files", 0, "nan", 1), "has no nan=1."),
        (lambda fields: fields["files"][0].pop("signed"), "has no fields=["),
        (lambda fields: fields.pop("depth"), "has no fields=["),
        (lambda fields: fields["files"].append(fields["files"][0]), "has no files=['a', 'a']. Allowed is ports of "),
    ],
)
def test_changed_manifests(exported: Path, change: Any, message: str) -> None:
    rewrite(exported, change)
    with pytest.raises(FormatError, match=re.escape(message)):
        read_readmemh(exported)


@pytest.mark.parametrize("junk", [b"", b"{", b"\xff", b"[" * 100000, b"1" * 5000, b"[]", b"null", b'"v"'])
def test_manifests_that_are_none(junk: bytes, exported: Path) -> None:
    exported.write_bytes(junk)
    with pytest.raises(FormatError, match=r"read_readmemh cannot read v\.json: |The manifest v\.json needs objects"):
        read_readmemh(exported)


def test_a_manifest_that_is_missing_or_too_large(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FormatError, match=re.escape("needs a manifest of at most 16,777,216 bytes, got w.json, which")):
        read_readmemh(exported.with_name("w.json"))
    monkeypatch.setattr(manifests, "LARGEST", 10)
    with pytest.raises(FormatError, match=re.escape("needs a manifest of at most 10 bytes, got v.json, which is none")):
        read_readmemh(exported)


def test_every_flipped_bit_of_a_file_is_noticed(exported: Path) -> None:
    path = exported.with_name("v.a.hex")
    before = path.read_bytes()
    for i in range(8 * len(before)):
        flipped = bytearray(before)
        flipped[i // 8] ^= 1 << i % 8
        path.write_bytes(flipped)
        with pytest.raises(FormatError):
            read_readmemh(exported)
