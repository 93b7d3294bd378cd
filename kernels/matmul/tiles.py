"""Which kernel and which tile for a product: a function of shape, dtype, precision and architecture, of nothing else.

The tuner's table comes first (`configuration`, keyed by shape class). Without an entry a small model of time chooses
among the tiles below: for each, the clock cycles of one tile (tensor cores, or the way from L2), times the waves of
tiles over the SMs, for several numbers of splits of K. Its constants are published rates, not measurements.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from dlcore.dtypes import DType, float32, float64
from dlcore.kernels.launch import Arch, accumulator, ceil_div, configuration, power_of_2, shared_out

__all__ = ["Tile", "Work", "choose", "family", "parts", "plain", "portable", "shares", "tiles", "worth_timing"]


class Work(NamedTuple):
    """What the choice depends on: (m, k) @ (k, n), ``entries`` times."""

    m: int
    n: int
    k: int
    entries: int
    dtype: DType
    precision: str


class Tile(NamedTuple):
    """One configuration: kernel "tma" or "pointers", sides of the tile, warps, stages, and how it is run.

    Any is right for any product: sides, stages and group beyond it cost time, and ``splits`` are what is wanted at most
    (`shares`).
    """

    kernel: str
    m: int
    n: int
    k: int
    warps: int
    stages: int
    group: int = 8
    splits: int = 1
    swap: bool = False
    specialize: bool = False
    flatten: bool = True
    resident: int = 1
    """Programs of a persistent kernel that an SM runs at once; registers and shared memory must hold them."""


def _pointers(*tiles: tuple[int, ...]) -> tuple[Tile, ...]:
    return tuple(Tile("pointers", *t) for t in tiles)


def _tma(*tiles: tuple[int, ...]) -> tuple[Tile, ...]:
    return tuple(Tile("tma", *t) for t in tiles)


# (m, n, k, warps, stages). Every tile compiles without spills on its architectures for all four layouts.
_SKINNY = ((64, 16, 128, 4, 4), (64, 32, 128, 4, 4))  # the long side goes to m: wgmma takes 64 rows at least
_NARROW = ((16, 64, 128, 4, 4), (32, 64, 128, 4, 4))  # mma.sync takes 16
_AMPERE = ((128, 128, 64, 8, 3), (128, 64, 64, 4, 3), (64, 64, 64, 4, 4))
TILES: dict[tuple[str, str], tuple[Tile, ...]] = {
    ("sm_80", "half"): _pointers((128, 256, 32, 8, 3), *_AMPERE, *_NARROW),
    ("sm_90", "half"): (
        *_tma((128, 256, 64, 8, 3), (128, 128, 64, 8, 4)),
        *_pointers((128, 64, 64, 4, 4), (64, 64, 64, 4, 5), *_SKINNY),
    ),
    ("sm_120", "half"): (
        *_tma((128, 128, 64, 8, 3), (128, 64, 64, 4, 3)),
        *_pointers((64, 64, 64, 8, 3), (16, 64, 128, 4, 3), (32, 64, 128, 4, 3)),
    ),
    ("sm_80", "tf32x3"): _pointers((128, 64, 32, 8, 3), (64, 64, 32, 4, 4), (16, 64, 32, 4, 4)),
    ("sm_90", "tf32x3"): (
        *_tma((128, 128, 32, 8, 3)),
        Tile("tma", 64, 128, 32, 4, 3, resident=2),
        *_pointers((64, 64, 32, 4, 4), (64, 16, 32, 4, 4)),
    ),
    ("sm_120", "tf32x3"): _pointers((128, 64, 32, 8, 3), (64, 64, 32, 8, 3), (16, 64, 32, 4, 3)),
    ("any", "ieee"): _pointers((128, 128, 32, 8, 2), (64, 64, 32, 4, 2), (16, 64, 32, 4, 2)),
    ("any", "double"): _pointers((64, 64, 16, 4, 3), (32, 32, 16, 4, 3)),
}

# Multiply-adds of 16-bit floats a clock and SM, and bytes a clock that one SM gets from L2.
_RATES = {"sm_80": (1024, 40), "sm_90": (2048, 32), "sm_100": (4096, 40), "sm_120": (256, 32)}
_SLOWER = {"half": 1.0, "tf32": 2.0, "tf32x3": 6.0, "ieee": 16.0, "double": 32.0}
_WAITING = 1.4  # tf32x3 by one program of an SM: its tensor cores wait while it splits the operands
_PROLOGUE, _SECOND_PASS = 1500, 4000  # cycles: filling the stages and storing a tile; another launch
_SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_IN_CACHE = 32 << 20  # bytes of slices that L2 keeps until they are added


def family(arch: Arch) -> str:
    """The architecture whose tiles and rates stand for ``arch``: sm_86 and sm_89 are like sm_80, sm_103 like sm_100."""
    return max(
        ("sm_80", "sm_90", "sm_100", "sm_120"), key=lambda name: (int(name[3:]) <= arch.capability, int(name[3:]))
    )


def kind(dtype: DType, precision: str) -> str:
    """The line of the tables."""
    if dtype is float64:
        return "double"
    return precision if dtype is float32 else "half"


def tiles(arch: Arch, dtype: DType, precision: str) -> tuple[Tile, ...]:
    """The tiles worth trying."""
    what = kind(dtype, precision)
    whose = "any" if what in ("ieee", "double") else family(arch).replace("sm_100", "sm_90")
    return TILES[whose, "tf32x3" if what == "tf32" else what]


def shape_class(work: Work) -> str:
    """The key of the tuner's table: kind, and sides rounded up to powers of two."""
    sides = "x".join(str(power_of_2(max(size, 16))) for size in (work.m, work.n, work.k))
    return f"{kind(work.dtype, work.precision)}-{sides}-{power_of_2(work.entries)}"


def shares(k: int, tile: Tile) -> tuple[int, int]:
    """(terms of each split, splits) of sums of ``k`` terms: whole steps of the tile, and no split without any."""
    share, splits = shared_out(ceil_div(k, tile.k), tile.splits)
    return share * tile.k, splits


@lru_cache(maxsize=4096)
def choose(work: Work, arch: Arch) -> Tile:
    """The tile for ``work``."""
    tuned = configuration(arch, "matmul", shape_class(work))
    if tuned is not None:
        return _fitted(Tile(**tuned), work)
    best = min(_variants(work, arch), key=lambda tile: _cycles(work, tile, arch))
    return _specialized(best, work, arch)


def worth_timing(work: Work, arch: Arch) -> list[Tile]:
    """For the tuner: the choice, the next best by the model, each tile once, and other ways to run persistent ones."""
    ranked = sorted(_variants(work, arch), key=lambda tile: _cycles(work, tile, arch))
    once = {(tile.kernel, tile.m, tile.n): tile for tile in reversed(ranked)}
    persistent = [tile for tile in ranked if tile.kernel == "tma"][:1]
    half = kind(work.dtype, work.precision) == "half"
    ways: list[Tile] = []
    for tile in persistent:
        ways += [tile._replace(flatten=False), tile._replace(group=1)]
        if half and (tile.stages + 1) * (tile.m + tile.n) * tile.k * 2 + (32 << 10) <= arch.shared:
            ways.append(tile._replace(stages=tile.stages + 1))
        if half and family(arch) == "sm_90":
            ways += [tile._replace(warps=4, stages=s, specialize=True, flatten=False) for s in (3, 4)]
            ways += [tile._replace(m=tile.n, n=tile.m), Tile("tma", 128, 128, 64, 8, 2, resident=2)]
    return list(dict.fromkeys([choose(work, arch), *ranked[:4], *once.values(), *ways]))


def _variants(work: Work, arch: Arch) -> list[Tile]:
    found = []
    for tile in tiles(arch, work.dtype, work.precision):
        swap = work.m < work.n if tile.m > tile.n else work.m > work.n and tile.m < tile.n
        swap = swap and tile.kernel == "pointers"
        steps = ceil_div(max(work.k, 1), tile.k)
        most = min(steps // 4, 4 * arch.multiprocessors // _blocks(work, tile._replace(swap=swap)))
        splits = (s for s in _SPLITS if s == 1 or s <= most)
        found += [_fitted(tile._replace(swap=swap, splits=s), work) for s in splits]
    return found


def _fitted(tile: Tile, work: Work) -> Tile:
    return tile._replace(splits=shares(work.k, tile)[1])


def _blocks(work: Work, tile: Tile) -> int:
    m, n = (work.n, work.m) if tile.swap else (work.m, work.n)
    return ceil_div(m, tile.m) * ceil_div(n, tile.n) * work.entries


def _cycles(work: Work, tile: Tile, arch: Arch) -> float:
    rate, bandwidth = _RATES[family(arch)]
    what = kind(work.dtype, work.precision)
    intensity = tile.m * tile.n / (tile.m + tile.n)
    step = tile.m * tile.n * tile.k * _SLOWER[what] / rate * (1 + 10 / intensity)
    if what == "tf32x3" and tile.kernel == "tma" and tile.resident == 1:
        step *= _WAITING
    traffic = (tile.m + tile.n) * tile.k * work.dtype.itemsize / bandwidth
    busy = ceil_div(_blocks(work, tile) * tile.splits, arch.multiprocessors)
    steps = ceil_div(ceil_div(max(work.k, 1), tile.k), tile.splits)
    cycles = busy * steps * max(step, traffic) + ceil_div(busy, tile.resident) * _PROLOGUE
    if tile.splits > 1:
        slices = tile.splits * 4 * work.m * work.n * work.entries
        slow = 1 if slices < _IN_CACHE else 3  # memory gives a third of what L2 does
        cycles += _SECOND_PASS + slow * 2 * slices / (bandwidth * arch.multiprocessors)
    return cycles


def _specialized(tile: Tile, work: Work, arch: Arch) -> Tile:
    """Few steps of K leave the epilogue bare: then one warp group loads while two multiply and store (sm_90)."""
    short = work.k <= 1024 and work.entries == tile.splits == 1 and kind(work.dtype, work.precision) == "half"
    if family(arch) != "sm_90" or tile.kernel != "tma" or not short:
        return tile
    return tile._replace(warps=4, stages=3, specialize=True, flatten=False)


def parts(
    tile: Tile, dtype: DType, arch: Arch, heavy: bool, scattered: bool, staged: bool = False, added: bool = False
) -> int:  # fmt: skip
    """In how many parts a tile is finished, from left to right, so that its epilogue fits into registers.

    ``heavy``: the activation takes many of them; ``scattered``: so do the addresses of results stored one by one;
    ``staged``: they go through shared memory (TMA), which takes 64 of a thread's sums at once; ``added``: to sums that
    are loaded.
    """
    sums = tile.m * tile.n // (32 * tile.warps) * accumulator(dtype).itemsize // 4
    persistent = tile.kernel == "tma"  # holds descriptors and the way through the tiles too
    if heavy:
        most = 16 if scattered or (sums >= 128 and not persistent) else 32
        tight = tile.resident > 1 or (persistent and family(arch) == "sm_120")  # where 16 were seen to spill
        most //= 2 if scattered and tight else 1
    else:
        most = 64 if staged else 32 if persistent or added else sums
    least = 4 if heavy and persistent and family(arch) == "sm_100" else 1  # where sums come from tensor memory
    return max(least, sums // most)


def plain(tile: Tile) -> Tile:
    """The tile for operands that cp.async cannot load, which then pass through registers: a small one."""
    if tile.m * tile.n > 64 * 64:
        tile = tile._replace(m=64, n=64, warps=4)
    return tile._replace(k=min(tile.k, 32), stages=2)


def portable(tile: Tile) -> Tile:
    """The tile for the same work through pointers; splits and k stay as they are."""
    if tile.kernel == "pointers":
        return tile
    return tile._replace(kernel="pointers", m=128, n=128, warps=8, stages=3, specialize=False, resident=1)
