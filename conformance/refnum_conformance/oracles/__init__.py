"""An independent oracle on Python integers: what the right bits are, one case at a time. It imports nothing of refnum.

==================  ==================================================================================
`reals`             exact real numbers: dyadic ones, quotients, square roots
`posit_literal`     posits rounded by the standard's own words: neighbours, and the midpoint with a bit more
`posit_string`      posits rounded on their bit string: guard and sticky. Both must agree, always
`posit`             every function of the standard that has a row, and the conversions
`quire`             the register of section 5.11, bit for bit, dot products and matrix products
`orders`            matrix products in which every step is rounded, k ascending
`elementary`        elementary functions of posits and minifloats: with `elementary_cases`, what is exact or no number,
                    `elementary_intervals`, Ziv's loop, and `mpfr_numbers`, MPFR's own roundings (gmpy2)
`distances`         how far a function's value is from a tie
`minifloat`         sign-magnitude formats of any width, the IEEE ones among them
`blocks`            blocks that share a scale, in every profile, and exact sums of their products
`block_rows`        the same, and products of matrices, as rows of the operations table
`lab`               fixed point, minifloats without a hidden bit, logarithms; blocks of these, and of integers
`lab_rows`          the same by refnum's names, as rows of the operations table
`mase_cuda`         MXInt8 as mase-cuda packs it, and its kernel's way of unpacking
`codebooks`         tables of values, rounded by looking for neighbours; takums
`p3109`             IEEE P3109's formats, projected as its interim report says
`book_rows`         tables of both kinds, as formats of `lab_rows`
`float_orders`      products of matrices of floats under each contract: exact, chains, trees, replays; of integers
==================  ==================================================================================

Posits go in by their low n bits, as signed or unsigned integers, and come out sign-extended. NaR's value is None.
"""

from __future__ import annotations
