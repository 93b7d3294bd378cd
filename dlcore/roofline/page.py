"""The roofline as one HTML file: the picture, the table, the machine and how it was measured; it loads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from dlcore.bench.roofs import Roofs
from dlcore.bench.show import time
from dlcore.roofline.points import STEP, Point
from dlcore.roofline.roofs import size

__all__ = ["page"]

_STYLE = """
:root { --ink: #1a1a1a; --faint: #c8c8c8; --paper: #ffffff; --soft: #f4f4f2; --bar: #0072b2; color-scheme: light dark }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --faint: #4a4a4a; --paper: #161616; --soft: #222222; --bar: #56b4e9 }
}
@media print { :root { --ink: #000; --faint: #bbb; --paper: #fff; --soft: #fff; --bar: #0072b2 } }
body { margin: 0 auto; max-width: 75rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem }
figure { margin: 1.5rem 0 }
figure svg { width: 100%; min-width: 50rem; height: auto; display: block }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .87rem }
th, td { padding: .2rem .7rem .2rem 0; text-align: left; vertical-align: baseline }
tr > * { border-bottom: 1px solid var(--faint) }
thead th { border-bottom: 2px solid var(--ink); white-space: nowrap; vertical-align: bottom }
tbody th { font-weight: 600 }
tbody th[colspan] { padding-top: 1.1rem; border-bottom: 1px solid var(--ink) }
.n { text-align: right; white-space: nowrap }
.shape { overflow-wrap: anywhere; min-width: 9rem }
.share { min-width: 9rem }
.share span { display: inline-block; width: 3.2em; text-align: right; margin-right: .5em }
.share i { display: inline-block; width: calc(100% - 4em); height: .62em; background: var(--soft);
  border: 1px solid var(--faint); box-sizing: border-box }
.share b { display: block; height: 100%; background: var(--bar); print-color-adjust: exact;
  -webkit-print-color-adjust: exact }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 0 }
dt { font-weight: 600 }
dd { margin: 0 }
footer { margin-top: 2.5rem; font-size: .87rem }
tr, figure { break-inside: avoid }
@media print {
  figure svg { min-width: 0 }
  body { max-width: none; padding: 0; font-size: 11px }
  h2 { break-after: avoid }
}
"""

_WORDS = """
<p>A kernel has so many floating-point operations to do and so many bytes to move: operands once, results once. Neither
goes faster than in a loop that does nothing else. The one that takes longer sets the least time, and the <em>share of
the roof</em> is that least time over the time taken. A kernel under the slope is bound by memory, under the flat part
by arithmetic.</p>
<p>What a kernel touches may be in a cache, which is faster than memory: its roof is the bandwidth of a working set of
that size. A kernel can come out above its roof where it works in place (the line that it writes need not be fetched
first, which a copy pays for and which is not counted), and where it finds a way around operations that are counted.</p>
"""


def page(
    points: Sequence[Point], roofs: Roofs, machine: Mapping[str, Any], title: str, notes: Sequence[str], picture: str
) -> str:
    """The whole page. ``picture``: an <svg>; ``notes``: sentences about this run."""
    where = _where(machine, roofs)
    said = "".join(f"<p>{escape(n)}</p>\n" for n in notes)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p>{escape(where)}; {escape(str(machine.get("date", "")))}.</p>
</header>
<main>
<figure>
<div class="scroll">
{picture}
</div>
<figcaption>Above: kernels under the roofs of this machine, by FLOPs for each byte, both axes logarithmic. Below: the
share of its roof that each reaches, those too that do no arithmetic. The numbers are those of the table.</figcaption>
</figure>
<h2>How to read it</h2>
{_WORDS}{said}<h2>Kernels</h2>
<div class="scroll">
{_table(points)}
</div>
<h2>Roofs</h2>
{_roofs(roofs)}
<h2>Machine</h2>
<dl>
{"".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v)) or 'unknown'}</dd>" for k, v in machine.items())}
</dl>
</main>
<footer>Made by dlcore roofline {escape(str(machine.get("dlcore", "")))}. This file loads nothing else.</footer>
</body>
</html>
"""


def _where(machine: Mapping[str, Any], roofs: Roofs) -> str:
    if "gpu" in machine:
        return str(machine["gpu"])
    return f"{machine.get('processor', roofs.device)}, {roofs.threads} thread{'s' * (roofs.threads != 1)}"


def describe(points: Sequence[Point]) -> str:
    """The picture in words, for who cannot see it."""
    shares = sorted(p.share for p in points if p.share is not None)
    if not shares:
        return "Roofline without points"
    best, worst = (pick(points, key=lambda p: p.share or 0.0) for pick in (max, min))
    text = (
        f"Roofline of {len(shares)} kernels: the median reaches {shares[len(shares) // 2]:.0%} of its roof, "
        f"from {worst.name} with {shares[0]:.0%} to {best.name} with {best.share or 0.0:.0%}. The table has them all."
    )
    return escape(text, quote=True)


# ---- kernels ------------------------------------------------------------------------------------------------------

_HEAD = (
    ("", ""), ("operation", ""), ("operands", "shape"), ("dtype", ""), ("time", "n"), ("FLOPs/byte", "n"),
    ("GB/s", "n"), ("GFLOP/s", "n"), ("working set", "n"), ("bound by", ""), ("share of the roof", "share"),
)  # fmt: skip


def _table(points: Sequence[Point]) -> str:
    head = "".join(f'<th scope="col" class="{c}">{t or "<abbr title=number>#</abbr>"}</th>' for t, c in _HEAD)
    body = "\n".join(_groups(points))
    return f"<table>\n<thead><tr>{head}</tr></thead>\n{body}\n</table>"


def _groups(points: Sequence[Point]) -> Iterator[str]:
    """A <tbody> for each family, with its name; launches of a step stay in their order."""
    stepwise = any(p.family == STEP for p in points)
    groups = [("the step, launch by launch", list(points))] if stepwise else groupby(points, lambda p: p.family)
    for family, members in groups:
        rows = "\n".join(map(_row, members))
        name = f'<tr><th scope="rowgroup" colspan="{len(_HEAD)}">{escape(family)}</th></tr>'
        yield f"<tbody>\n{name}\n{rows}\n</tbody>"


def _row(p: Point) -> str:
    share = "none: it does no work"
    if p.share is not None:
        width = min(p.share, 1.0) * 100
        share = f'<span>{p.share:.0%}</span><i aria-hidden="true"><b style="width: {width:.1f}%"></b></i>'
    cells = (
        ("n", str(p.number)), ("", ""), ("shape", escape(p.shape)), ("", p.dtype), ("n", time(p.seconds)),
        ("n", f"{p.intensity:.2f}" if p.drawn else ""), ("n", f"{p.bandwidth / 1e9:.1f}" if p.bytes else ""),
        ("n", f"{p.rate / 1e9:.1f}" if p.flops else ""), ("n", size(p.working_set) if p.working_set else ""),
        ("", p.bound if p.least else ""), ("share", share),
    )  # fmt: skip
    made = [f'<td class="{c}">{text}</td>' if c else f"<td>{text}</td>" for c, text in cells]
    title = f' title="{escape(p.line, quote=True)}"' if p.line else ""
    made[1] = f'<th scope="row"{title}>{escape(p.name)}</th>'
    return f"<tr>{''.join(made)}</tr>"


# ---- roofs --------------------------------------------------------------------------------------------------------

_HOW_CPU = """
<p>Measured on {threads}, by loops that dlcore brings along (csrc/roofs/), on its own pool of threads; each figure is
the best of several repeats{quick}. <strong>Copy</strong>: half of the working set is read, the other half written, and
bytes read and written are counted; beyond 1 MiB the better of ordinary stores and of stores past the caches.
<strong>Read</strong>: the whole working set is summed. <strong>Multiply-adds</strong>: x = x &middot; a + b in
registers, in enough independent chains to keep every unit busy, 2 FLOPs each. <strong>Matrix product</strong>:
{library}, large squares, 2n&sup3; FLOPs.</p>
"""
_HOW_GPU = """
<p>Measured on {device} by small kernels (kernels/roofs/) between events, the best of several repeats{quick}.
<strong>Copy</strong>: half of the working set is read, the other half written; both are counted. <strong>Read</strong>:
the whole working set is summed. <strong>Multiply-adds</strong>: x = x &middot; a + b in registers, 2 FLOPs each; 16-bit
floats and tf32 on tensor cores. <strong>Matrix product</strong>: {library}. These kernels have not been verified on
hardware by their authors.</p>
"""


def _roofs(roofs: Roofs) -> str:
    how = _HOW_CPU if roofs.threads else _HOW_GPU
    text = how.format(
        threads=f"{roofs.threads} thread{'s' * (roofs.threads != 1)}", device=escape(roofs.device),
        library=escape(roofs.library or "not measured"), quick=", quickly" if roofs.quick else "",
    )  # fmt: skip
    read = dict(roofs.read)
    rows = "".join(
        f'<tr><th scope="row" class="n">{size(b)}</th><td class="n">{rate / 1e9:.1f}</td>'
        f'<td class="n">{read.get(b, 0.0) / 1e9:.1f}</td><td class="n">{roofs.bandwidth(b) / 1e9:.1f}</td></tr>\n'
        for b, rate in roofs.copy
    )
    head = ("working set", "copy, GB/s", "read, GB/s", "taken as the roof, GB/s")
    first = "".join(f'<th scope="col" class="n">{h}</th>' for h in head)
    names = sorted({*roofs.fma, *roofs.gemm})
    flops = "".join(
        f'<tr><th scope="row">{n}</th>'
        + "".join(f'<td class="n">{t[n] / 1e9:,.0f}</td>' if n in t else "<td></td>" for t in (roofs.fma, roofs.gemm))
        + "</tr>\n"
        for n in names
    )
    second = "".join(
        f'<th scope="col"{" class=n" if k else ""}>{h}</th>'
        for k, h in enumerate(("dtype", "multiply-adds, GFLOP/s", "matrix product, GFLOP/s"))
    )
    return (
        f"{text}<table>\n<thead><tr>{first}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n<p></p>\n"
        f"<table>\n<thead><tr>{second}</tr></thead>\n<tbody>\n{flops}</tbody>\n</table>"
    )
