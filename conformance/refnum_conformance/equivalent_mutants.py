"""Mutants of the core that no operands can tell from it, each with the proof."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """What names a mutant, as long as its function stays as it is."""

    file: str  #: in refnum/core, without .py
    function: str  #: empty on the level of the module
    before: str  #: the expression or statement around the mistake
    after: str  #: the same with the mistake
    nth: int = 1  #: which one, where the function has several alike

    def __str__(self) -> str:
        place = f"{self.file}.{self.function}" if self.function else self.file
        which = f" (no. {self.nth})" if self.nth > 1 else ""
        return f"{place}: `{self.before}` -> `{self.after}`{which}"


Change = tuple[str, str] | tuple[str, str, int]  #: before, after, and which one


def _in(place: str, *changes: Change) -> list[Key]:
    file, _, function = place.partition(".")
    return [Key(file, function, *change) for change in changes]


def _sign(place: str, *numbers: str) -> list[Key]:
    """Masks of the sign of numbers."""
    return _in(place, *((f"{number} >> 63", f"{number} >> 62") for number in numbers))


_CACHES = tuple(("lru_cache(maxsize=64)", f"lru_cache(maxsize={size})") for size in (63, 65))

PROOFS: tuple[tuple[str, list[Key]], ...] = (
    (
        "Bit 62 of a number from -2**62 to 2**62 - 1 is its sign, like bit 63. The numbers: 1. run_less_1 - 64 lies "
        "in [-64, 1021]. 2. Exponents, their differences, the counts of shifts that come from these, fields, "
        "regimes and places in tables are far below 2**32. 3. In add both significands are halved, so that total[0] is "
        "at most twice 2**61 - 1 and a carry of 1. 4. In _quotient_short the quotient is right or 1 too large, so that "
        "the remainder lies between -divisor and divisor, which is below 2**31. 5. In _quotient_long 0 <= remainder < "
        "2 * y and y < 2**62. 6. In _isqrt the root is off by 1 at most, so that both numbers are below 2**34. 7. In "
        "_root_long root is below 2**62 and rest lies in [0, 2 * root]. 8. The last word of a long sum only takes "
        "what carries out of the words below: from_words joins words as if they had 32 bits. 9. The threshold is "
        "below 2**16, and what is subtracted from it at most that. 10. A kind is -1, 0 or 1. 11. Limbs are below "
        "2**62.",
        [
            *_sign("decode._decode_posit", "run_less_1 - 64"),
            *_sign("exact.shift_right_jam", "LIMB - 1 - count"),
            *_sign("exact.add", "difference", "total[0]"),
            *_sign("exact._quotient_short", "remainder"),
            *_sign("exact._quotient_long", "remainder - y"),
            *_sign("exact._isqrt", "x - root * root", "2 * root - remainder"),
            *_sign("exact._root_long", "root - rest"),
            *_sign("exact.from_words", "words[-1]"),
            *_sign("pack._pack_posit", "k"),
            *_sign("pack._pack_minifloat", "(1 << fmt.exponent) - 2 - field"),
            *_sign("pack._pack_fixed", "LIMB - 1 - up"),
            *_sign("pack._pack_logarithmic", "field - least"),
            *_sign("pack._logarithm", "second[last] - widen(x, 2)[1]"),
            *_sign("round._stochastic", "threshold - (w.tail >> w.tail_bits - RANDOM_BITS)"),
            *_sign("round._finish_minifloat", "w.kind"),
            *_sign("round._finish_fixed", "w.kind", "largest - magnitude"),
            *_sign("round._finish_sign_magnitude", "w.kind"),
            *_sign("round.rounded_floats", "x.kind"),
            *_sign("round._finish_codebook", "w.kind", "place", "last - place"),
        ],
    ),
    (
        "Only the shape, dtype and device of the limb are used, to make zeros, and all limbs of a number agree in "
        "them.",
        [
            *_in("exact.widen", ("x[0]", "x[-1]")),
            *_in("exact.shift_right_jam", *(("x[0]", f"x[{i}]", nth) for i in (1, -1) for nth in (3, 4))),
            *_in("exact.normalise", ("x[0]", "x[1]", 2), ("x[0]", "x[-1]", 2)),
            *_in("exact.product_limbs", ("x[0]", "x[-1]")),
            *_in("pack._logarithm", ("x[0]", "x[-1]")),
        ],
    ),
    (
        "Where this is evaluated the tuple, the list or the axis has one element: the first is the last.",
        [
            *_in("exact.shift_right_jam", ("x[0]", "x[-1]"), ("x[0]", "x[-1]", 2)),
            *_in("exact.shift_left", ("x[-1]", "x[-0]")),
            *_in("exact.product_limbs", ("xs[0]", "xs[-1]"), ("ys[0]", "ys[-1]")),
            *_in(
                "exact.from_words",
                (
                    "magnitude.gather(0, (first - i).clamp(min=0)[None])[0]",
                    "magnitude.gather(0, (first - i).clamp(min=0)[None])[-1]",
                ),
            ),
        ],
    ),
    (
        "The tensor has one axis, which is the first and the last.",
        _in(
            "exact.add_to_words",
            (
                "flat.scatter_add_(0, (first + j * columns).reshape(-1), ((part ^ sign) - sign).reshape(-1))",
                "flat.scatter_add_(-1, (first + j * columns).reshape(-1), ((part ^ sign) - sign).reshape(-1))",
            ),
        ),
    ),
    (
        "There is always a limb, and a digit: no length is below 1.",
        [
            *_in("exact.shift_right_jam", ("len(x) == 1", "len(x) <= 1")),
            *_in("exact.shift_left", ("len(x) == 1", "len(x) <= 1")),
            *_in("pack._cut", ("len(x) == 1", "len(x) <= 1")),
            *_in(
                "exact.product_limbs",
                ("len(xs) == len(ys) == 1", "len(xs) <= len(ys) == 1"),
                ("len(xs) == len(ys) == 1", "len(xs) == len(ys) <= 1"),
            ),
        ],
    ),
    (
        "1. Bit i of the result is that of x unless bit i + 2 of x is set, so that the leading one, at bit L, "
        "stays, and bit L - 2 is 0. 2. For L < 2 the conversion is exact. 3. Else the result is below 2**(L + 1) - "
        "2**(L - 2), which float64 holds: no rounding goes beyond that number, let alone to 2**(L + 1).",
        _in("decode.floor_log2", ("x >> 1", "x >> 2")),
    ),
    (
        "1. For a number, body ^ ones lies in [1, 2**63), so that run_less_1 lies in [0, 62]. For 0 and NaR body is "
        "0 and run_less_1 is 62 + 1023 = 1085. So run_less_1 - 63, - 64 and - 65 have the same sign. 2. `present` "
        "is used in `present & HIDDEN` alone, that is, its bit 61. The numbers from -64 to -2 have that bit, as the "
        "mask has, and 1021 lacks it.",
        _in(
            "decode._decode_posit",
            ("run_less_1 - 64", "run_less_1 - 63"),
            ("run_less_1 - 64", "run_less_1 - 65"),
            ("run_less_1 - 64 >> 63", "run_less_1 - 64"),
        ),
    ),
    (
        "The mask lets bit `mantissa` of the magnitude through, too: the lowest bit of its field. Where that is set "
        "the field is not 0, so that the hidden bit, which is joined by |, stands at that place already.",
        [
            *_in("decode.decode_minifloat", ("1 << fmt.mantissa", "2 << fmt.mantissa")),
            *_in("books.multiple", ("1 << float64.mantissa", "2 << float64.mantissa")),
        ],
    ),
    (
        "x[count] is joined to what begins with x[count], by |.",
        _in("exact.narrow", ("count + 1", "count")),
    ),
    (
        "The general way gives the same for one limb: no whole limbs are moved, `lost` begins as 0, and one limb is "
        "shifted by the count, which is cut to 62, with all that it loses.",
        _in("exact.shift_right_jam", ("len(x) == 1", "len(x) < 1"), ("len(x) == 1", "len(x) == 0")),
    ),
    (
        "One more step moves limbs only where the count is still 62 or more after a step for every limb but one. "
        "Then all of these have moved, and only one limb may hold ones. Moved out as a whole or shifted by 62, "
        "it leaves 0; when it moves right, it goes to `lost`.",
        [*_in("exact.shift_right_jam", ("x[1:]", "x[0:]")), *_in("pack._pack_fixed", ("limbs[1:]", "limbs[0:]"))],
    ),
    (
        "The count 62 is then left to the shift within limbs, which is right for 0 to 62: it moves all bits of a limb "
        "out of it, and all of its neighbour in.",
        [
            *_in("exact.shift_right_jam", ("LIMB - 1", "LIMB"), ("LIMB - 1", "LIMB - 0")),
            *_in("pack._pack_fixed", ("LIMB - 1", "LIMB", 2), ("LIMB - 1", "LIMB - 0", 2)),
        ],
    ),
    (
        "Nothing falls out of the first limb, as the docstring asks: where it is the only one, x << count is below "
        "2**62 and & MASK changes nothing.",
        _in("exact.shift_left", ("len(x) == 1", "len(x) < 1"), ("len(x) == 1", "len(x) == 0")),
    ),
    (
        "1. After a step for every limb but one the first limb is not 0, unless the significand is. So only a "
        "significand 0 is treated otherwise: it is moved once more, or shifted by 61 + 1023. 2. It stays 0, by "
        "whatever count 0 is shifted. Its exponent changes. 3. What `normalise` gives goes to `pack`, which takes "
        "nothing from the exponent of 0: for posits `start` is masked by `present`, and shifts of 0 give 0; for "
        "minifloats `beyond` and the head are masked; pack_integer only shifts.",
        _in("exact.normalise", ("x[1:]", "x[0:]"), ("x[0] | 1", "x[0]"), ("x[0] | 1", "x[0] | 0")),
    ),
    (
        "The general way gives the same for one digit each: the product p is cut in p >> 31 and its low 31 bits, "
        "both below 2**31, so that nothing carries, and the two are joined again.",
        _in(
            "exact.product_limbs",
            ("len(xs) == len(ys) == 1", "len(xs) < len(ys) == 1"),
            ("len(xs) == len(ys) == 1", "len(xs) == len(ys) < 1"),
            ("len(xs) == len(ys) == 1", "len(xs) == len(ys) == 0"),
        ),
    ),
    (
        "It is asked whether the number of digits is odd, and m + n is odd exactly when m - n is.",
        _in("exact.product_limbs", ("len(xs) + len(ys)", "len(xs) - len(ys)", 2)),
    ),
    (
        "The last column needs no carry. For an even number of digits it holds the low half of one product, that of "
        "the last digits, below 2**31. For an odd number it is there to fill a limb, and 0.",
        _in("exact.product_limbs", ("len(columns) - 1", "len(columns) - 2")),
    ),
    (
        "The additional step carries from the first column to the last. The product is below 2**31 to the power of "
        "the number of digits, so that the first column is below 2**31 after all carries: it gives 0, and its mask "
        "changes nothing.",
        _in(
            "exact.product_limbs",
            ("range(len(columns) - 1, 0, -1)", "range(len(columns) - 1, -1, -1)"),
        ),
    ),
    (
        "NAN is -1, with every bit set: `& NAN` changes nothing.",
        _in("exact.divide", ("~nonzero(b.significand[0]) & NAN", "~nonzero(b.significand[0])")),
    ),
    (
        "Some widths that the short way serves are left to the long one, which is right for all of up to 62 bits: "
        "both give the true quotient, or root, exactly to one bit more than `bits`, which a rounding reads one by "
        "one, and a sticky bit further down.",
        [
            *_in("exact.divide", ("bits <= DIGIT", "bits < DIGIT"), ("bits <= DIGIT", "bits == DIGIT")),
            *_in(
                "exact.square_root",
                ("bits <= DIGIT - 1", "bits < DIGIT - 1"),
                ("bits <= DIGIT - 1", "bits == DIGIT - 1"),
                ("DIGIT - 1", "1"),
                ("DIGIT - 1", "DIGIT - 2"),
            ),
        ],
    ),
    (
        "1. Every step gives one more bit of the true quotient, and keeps 0 <= remainder < 2 * y: more steps than "
        "bits + 3 only move the sticky bit down. All of these take more. 2. bits + 4: one more. 3. range(-1, ...): "
        "counted from -1 there are steps + 1, and the second word begins after 62 of them, as before. 4. The others "
        "change nothing for start = 0; for start = 62, that is bits > 59, they fill the second word.",
        _in(
            "exact._quotient_long",
            ("bits + 3", "bits + 4"),
            ("range(0, steps, LIMB)", "range(-1, steps, LIMB)"),
            ("steps - start", "steps + start"),
            ("steps - start", "steps"),
        ),
    ),
    (
        "The root is t or, where it is too large, t + 1, for t = floor(sqrt(N)), where N = x << 61 or x << 62. Then "
        "the right rest is r = N - t**2, and here it is r - 1. 1. What is read of it is whether it exceeds t, and "
        "whether it is 0. So only r = 0, r = 1 and r = t + 1 could be told apart. 2. r = 1: N is a multiple of 4, "
        "and t**2 + 1 is never. 3. r = t + 1: N is even, and t * (t + 1) + 1 is odd. 4. r = 0: let t = a << 31 | b; "
        "then a is the root of the upper half and the numerator is 2ab + floor(b**2 / 2**31). The last term is "
        "below 2**31 <= 2a, so that the digit is b, and the root was not too large.",
        _in("exact._root_long", ("2 * root - 1", "2 * root - 2")),
    ),
    (
        "The words of the magnitude are not negative: all but the last are carried, and the last is the floor of a "
        "magnitude over a power of 2.",
        _in("exact.from_words", ("magnitude != 0", "magnitude > 0"), ("magnitude != 0", "magnitude > 0", 2)),
    ),
    (
        "posit(47, es) is then cut from two words. Both strings begin with the same 62 bits: 46 of the head and the "
        "first 16 of the tail. What follows is 0 in both or in neither, and that is all that a rounding reads.",
        [
            *_in("pack", ("ONE_WORD = 47", "ONE_WORD = 46")),
            *_in("pack._pack_posit", ("fmt.n <= ONE_WORD", "fmt.n < ONE_WORD")),
        ],
    ),
    (
        "1. Where there is a second limb `rest` is at most 17: posits have 48 bits or more there, and the "
        "minifloats, for which exact_bits = 16 >= rest, less. 2. So only the last 17 of the tail's 62 bits change, "
        "and those are 0 with both or with neither. 3. A rounding reads the first 16 bits of the tail, and whether "
        "what follows is 0.",
        _in("pack._cut", ("sticky(dropped(x[1], rest))", "dropped(x[1], rest)")),
    ),
    (
        "-(1 << 63) and 1 << 63 are the same 64 bits, and torch takes a Python integer of 64 bits by these.",
        _in("pack._pack_posit", ("-(1 << 63)", "1 << 63")),
    ),
    (
        "For below = 0 either branch leaves the fraction as it is: it is shifted by 0, and loses nothing.",
        _in(
            "pack._one_word",
            ("below > 0", "below >= 0"),
            ("below > 0", "below > -1"),
            ("below < 0", "below != 0"),
        ),
    ),
    (
        "Bit 62 of `below` stays. It is the first bit of `second`, which is also the last bit of `fraction`. 1. For "
        "es > 0 it gets to bit 62 - es of `low`, where that bit of the fraction stands already. 2. For es = 0 it is "
        "bit 62 of `low`; the last bit of `high` is the same. Shifted by repeat > 0 they meet in one bit of `low`; "
        "for repeat = 0 they meet in `_cut`: the tail's bit 62 - rest is the last bit of `high`. 3. `dropped` does "
        "not read it: es <= 4, repeat <= 62 and rest <= 17 bits lie below it.",
        _in("pack._two_words", ("second << 1 & MASK", "second << 1")),
    ),
    (
        "More limbs than needed are kept, or more bits asked for. 1. With two limbs instead of one, the head, the "
        "exact bits of the tail, and whether anything follows are the same. 2. `rest` is 61 - mantissa >= 9, so "
        "that for any exact_bits up to 8 one limb does. So the choice between one limb and two could matter to a "
        "stochastic rounding alone, which reads the first 16 bits of the tail. These mutants leave it its 16. 3. A "
        "third limb, which `_cut` does not read, differs from the jammed second one by the last bit of that, far "
        "behind those 16. 4. The tails of logarithms and codebooks get more bits before their sticky one.",
        [
            *_in(
                "pack._pack_minifloat",
                ("1 if exact_bits < rest else 2", "2 if exact_bits < rest else 2"),
                ("1 if exact_bits < rest else 2", "1 if exact_bits < rest else 3"),
            ),
            *_in(
                "round.encode",
                ("rounding == 'stochastic'", "rounding <= 'stochastic'"),
                ("rounding == 'stochastic'", "rounding >= 'stochastic'"),
                (
                    "RANDOM_BITS if rounding == 'stochastic' else 1",
                    "RANDOM_BITS if rounding == 'stochastic' else 2",
                ),
            ),
        ],
    ),
    (
        "Let e and m be the widths. Fields from 2**e - 1 up to 2**e + 2 are then left to `largest - head`, which "
        "finds them, too. 1. They are above 0, so that the significand does not move down, and the head is h, at "
        "least (field + 1) << m >= 1 << e + m, which is above `largest`, and below (2**e + 4) << m. 2. For e < 11 "
        "or m < 52 this is below 2**63, and the difference is negative. 3. For e = 11 and m = 52, h lies in [2**63, "
        "2**63 + 2**54) and wraps to h - 2**64; largest is at least 2**63 - 2**52 - 1, so that largest - h + 2**64 "
        "lies in [2**63, 2**64), and wraps to a negative number.",
        _in(
            "pack._pack_minifloat",
            ("(1 << fmt.exponent) - 2", "(1 << fmt.exponent) - 1"),
            ("(1 << fmt.exponent) - 2", "1 << fmt.exponent"),
            ("(1 << fmt.exponent) - 2", "(1 << fmt.exponent) + 2"),
        ),
    ),
    (
        "NaN is -1 where only Inf's bit is asked for, which makes the mask 1 instead of 0: but what NaN becomes in the "
        "end is the same, whatever its magnitude or its place was.",
        [
            *_in("round._finish_fixed", ("w.kind & INFINITE", "w.kind")),
            *_in("round._finish_sign_magnitude", ("w.kind & INFINITE", "w.kind")),
            *_in("round._finish_codebook", ("w.kind & INFINITE", "w.kind"), ("w.kind & INFINITE", "w.kind", 2)),
        ],
    ),
    (
        "The choices are saturate, inf and nan, the first of which in the alphabet is inf; of fixed point saturate and "
        "wrap, in this order; of codebooks propagate is the last but for saturate, which has no code and is let pass.",
        [
            *_in("round._finish_minifloat", ("fmt.overflow == 'inf'", "fmt.overflow <= 'inf'")),
            *_in("round._finish_fixed", ("fmt.overflow == 'wrap'", "fmt.overflow >= 'wrap'")),
            *_in("pack._pack_fixed", ("fmt.overflow == 'saturate'", "fmt.overflow <= 'saturate'")),
            *_in("round._finish_codebook", ("overflow == 'propagate'", "overflow >= 'propagate'")),
        ],
    ),
    (
        "1. A third limb is 0, and `_pack_fixed` reads two. 2. Without a second one, which is 0, what a shift moves "
        "past bit 61 of the only one stays there: the head is larger by a multiple of 2**62, of which wrapping, to 32 "
        "bits at most, reads nothing. Either way the tail is 0.",
        _in(
            "pack._pack_fixed",
            ("widen(x.significand, 2)", "widen(x.significand, 1)"),
            ("widen(x.significand, 2)", "widen(x.significand, 3)"),
        ),
    ),
    (
        "A third limb follows the second, which alone is read.",
        _in("pack._logarithm", ("widen(x, 2)", "widen(x, 3)")),
    ),
    (
        "What lies below the least value does so by one binade or more; where else the count is used, the limb is 0.",
        _in(
            "pack._pack_logarithmic",
            ("(least - field).clamp(min=0)", "(least - field).clamp(min=1)"),
        ),
    ),
    (
        "More limbs than needed are kept: a place is found by 53 bits and a sticky one, and differences are exact.",
        _in(
            "pack._pack_codebook",
            ("neighbour_bits(fmt) + exact_bits + 2", "neighbour_bits(fmt) + exact_bits + 3"),
        ),
    ),
    (
        "Of float64 `rest` is 9: for exact_bits up to 8 one limb is cut, and of what is cut only the head is used.",
        _in(
            "pack._pack_codebook",
            ("_pack_minifloat(x, float64, 1)", "_pack_minifloat(x, float64, 2)"),
            ("_pack_minifloat(x, float64, 1)", "_pack_minifloat(x, float64, 0)"),
        ),
    ),
    (
        "Beyond the ends one step or two are the same: `place` is cut to the ends, and `beyond` is a sign. A full "
        "tail, of which the rules for the nearest make two steps if it is twice as long, is met there alone: else x "
        "lies before the next value.",
        [
            *_in(
                "pack._pack_codebook",
                ("1 << exact_bits + 1", "2 << exact_bits + 1"),
                ("exact_bits + 1", "exact_bits + 2"),
            ),
            *_in(
                "round._finish_codebook",
                ("torch.full_like(place, -1)", "torch.full_like(place, -2)"),
                ("last + 1", "last + 2"),
            ),
        ],
    ),
    (
        "How many tables are remembered changes when they are made anew, and not what they hold.",
        [
            *_in("books._book", *_CACHES),
            *_in("books._neighbour_bits", *_CACHES),
        ],
    ),
    (
        "The places of codes without a value are not used: `_pack_codebook` gives codes that have one. The second half "
        "of a table of twice as many is not used either: codes are cut to the format's width.",
        _in("books._book", ("1 << fmt.width", "2 << fmt.width"), ("[0]", "[1]"), ("[0]", "[-1]")),
    ),
    (
        "A field is not negative. The pattern 0 is worth 0 with either sign, and -1 is a NaN, which is no step.",
        _in(
            "books.multiple",
            ("field > 0", "field != 0"),
            *(("pattern < 0", f"pattern {other}") for other in ("<= 0", "< 1", "< -1")),
        ),
    ),
    (
        "A power is too small by less than 2**-180 all the same, and none lies within 2**-150 of what it is cut to: a "
        "test says so.",
        _in("books._roots", ("places = 200", "places = 199"), ("places = 200", "places = 201")),
    ),
    (
        "More powers follow. The next one is too small to be 2 by less than 2**-150, so that it is cut to 124 ones, "
        "and the others, which are less than 4, have a longer first limb: no significand lies above.",
        _in(
            "books._roots",
            ("(1 << bits) - 1", "(1 << bits) + 1"),
            ("(1 << bits) - 1", "(1 << bits) - 0"),
            ("(1 << bits) - 1", "1 << bits"),
            ("1 << bits", "2 << bits"),
        ),
    ),
    (
        "x | -x is -(x & -x), the lowest bit with a sign. It divides x, and the bits of a quotient are those of its "
        "magnitude.",
        _in("books._length", ("x & -x", "x | -x")),
    ),
    (
        "Far below is far below: no exponent of a number is less than -2**17, and no significand has as many bits as "
        "would bridge the rest.",
        _in("decode", *(("1 << 20", other) for other in ("2 << 20", "1 << 21", "1 << 19"))),
    ),
)

EQUIVALENT: dict[Key, str] = {key: proof for proof, keys in PROOFS for key in keys}
