"""The order in which the operands of a contraction are multiplied: the fewest arithmetic operations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

__all__ = ["EXHAUSTIVE", "order_of"]

EXHAUSTIVE = 6
"""Up to so many operands all orders are compared; the number of ways grows as 3 ** n."""

Names = frozenset[str]
Pair = tuple[int, int]


def order_of(terms: Sequence[Names], out: Names, sizes: Mapping[str, int], best: bool) -> Iterator[Pair]:
    """Pairs (left, right), left < right, of places among the operands that are left: both go, and their product comes
    behind the others. ``sizes``: the length of each axis. ``best``: else from left to right."""
    if len(terms) <= 2 or not best:
        left = [0, *range(len(terms) - 2, 0, -1)]  # the product is the last one, the next operand the first
        yield from ((0, k + 1) if k == 0 else (0, k) for k in left[: len(terms) - 1])
    elif len(terms) <= EXHAUSTIVE:
        yield from _compared(list(terms), out, sizes)
    else:
        yield from _greedy(list(terms), out, sizes)


def _size(names: Names, sizes: Mapping[str, int]) -> int:
    return math.prod(sizes[k] for k in names)


def _left(inside: Names, others: Sequence[Names], out: Names) -> Names:
    """What remains of the axes of a product: those that the output or another operand has."""
    return inside & (out | frozenset().union(*others))


def _compared(terms: list[Names], out: Names, sizes: Mapping[str, int]) -> Iterator[Pair]:
    n = len(terms)

    @cache
    def kept(mask: int) -> Names:
        inside = frozenset().union(*(terms[k] for k in range(n) if mask >> k & 1))
        if not mask & (mask - 1):
            return inside
        return _left(inside, [terms[k] for k in range(n) if not mask >> k & 1], out)

    @cache
    def best(mask: int) -> tuple[int, int, int]:
        """(operations, then elements of results, the first part's operands) of the cheapest product of ``mask``."""
        if not mask & (mask - 1):
            return 0, 0, 0
        ways, part = [], (mask - 1) & mask
        while part:
            other = mask ^ part
            if part > other:  # each pair of parts once
                (one, room, _), (two, more, _) = best(part), best(other)
                own = _size(kept(part) | kept(other), sizes)
                ways.append((one + two + own, room + more + _size(kept(mask), sizes), part))
            part = (part - 1) & mask
        return min(ways)

    places = [1 << k for k in range(n)]

    def walk(mask: int) -> Iterator[Pair]:
        if not mask & (mask - 1):
            return
        part = best(mask)[2]
        yield from walk(part)
        yield from walk(mask ^ part)
        left, right = sorted((places.index(part), places.index(mask ^ part)))
        del places[right], places[left]
        places.append(mask)
        yield left, right

    yield from walk((1 << n) - 1)


def _greedy(terms: list[Names], out: Names, sizes: Mapping[str, int]) -> Iterator[Pair]:
    while len(terms) > 1:
        found = []
        for right in range(1, len(terms)):
            for left in range(right):
                a, b = terms[left], terms[right]
                others = [t for k, t in enumerate(terms) if k not in (left, right)]
                grown = _size(_left(a | b, others, out), sizes) - _size(a, sizes) - _size(b, sizes)
                found.append((grown, _size(a | b, sizes), left, right))
        _, _, left, right = min(found)
        b, a = terms.pop(right), terms.pop(left)
        terms.append(_left(a | b, terms, out))
        yield left, right
