"""Parts of an HTML page that stands alone: no script, nothing fetched, no path of a machine."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape

from splat.comparison.drawing import Chart

CSS = """
:root { color-scheme: light; --ink: #22262b; --faint: #67707a; --line: #e3e7eb; --paper: #fff;
  --tint: #f5f7f9; --mark: #a2412b; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 78rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .4rem 0; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .4rem; border-top: 1px solid var(--line);
  padding-top: 1.2rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p { max-width: 46rem; margin: .5rem 0; }
.lead { font-size: 1.1rem; }
.faint, figcaption, .notes { color: var(--faint); font-size: .88rem; }
.notes { padding-left: 1.2rem; margin: .4rem 0; }
nav { margin: .8rem 0; font-size: .95rem; }
nav a { color: #2f6fb0; margin-right: 1rem; white-space: nowrap; }
.wide { overflow-x: auto; margin: .8rem 0; -webkit-overflow-scrolling: touch; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .38rem .7rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { font-weight: 600; color: var(--faint); vertical-align: bottom; }
.name { text-align: left; position: sticky; left: 0; background: var(--paper); }
td.text { text-align: left; white-space: normal; min-width: 14rem; }
th.text { text-align: left; }
tr.first td { background: var(--tint); }
b { font-weight: 700; }
.sd { color: var(--faint); font-size: .85em; }
.dot { display: inline-block; width: .72em; height: .72em; border-radius: 50%; margin-right: .5em; }
.mark { color: var(--mark); font-weight: 600; }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem),
  1fr)); }
.tiles { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); }
figure { margin: 0; }
figure img { width: 100%; height: auto; display: block; }
.tiles img { margin-bottom: 3px; }
details { margin: .8rem 0; }
summary { cursor: pointer; color: #2f6fb0; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: minmax(8rem, 11rem) 1fr; gap: .5rem 1.2rem;
  max-width: 60rem; font-size: .95rem; }
dt { font-weight: 600; } dd { margin: 0; }
.failed .name { background: inherit; }
.failed { border-left: 4px solid var(--mark); padding: .2rem 1rem; background: #fbf3f1; }
@media (max-width: 36rem) {
  body { padding: .9rem; font-size: 15px; }
  dl { grid-template-columns: 1fr; gap: .1rem; } dd { margin-bottom: .7rem; }
  th, td { padding: .38rem .45rem; }
  .name { white-space: normal; min-width: 6rem; overflow-wrap: anywhere; }
  .tiles { grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: .5rem; }
}
@media print { details > * { display: block; } }
"""
_PATH = re.compile(r"""(?<![\w.<])~?(?:[A-Za-z]:)?(?:[\\/]+[^\s\\/:'",;()<>]+)+[\\/]?""")


def page(title: str, body: Sequence[str]) -> str:
    """A page of HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def image(data: bytes, title: str) -> str:
    """A PNG embedded in HTML."""
    inlined = base64.b64encode(data).decode("ascii")
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    return (
        f'<img src="data:image/png;base64,{inlined}" alt="{escape(title)}" width="{width}"'
        f' height="{height}">'
    )


def charts(figures: Sequence[Chart]) -> str:
    """Charts in a grid."""
    shown = "\n".join(f"<figure>{image(chart.data, chart.title)}</figure>" for chart in figures)
    return f'<div class="grid">\n{shown}\n</div>'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[int] = ()) -> str:
    """An HTML table of cells that are HTML; the second column names the row, columns `text` are
    prose."""

    def row(cells: Sequence[str], tag: str) -> str:
        classes = {1: ' class="name"', **{i: ' class="text"' for i in text}}
        made = (f"<{tag}{classes.get(i, '')}>{cell}</{tag}>" for i, cell in enumerate(cells))
        return f"<tr>{''.join(made)}</tr>"

    body = "\n".join(row(cells, "td") for cells in rows)
    return f'<div class="wide"><table>\n{row(heads, "th")}\n{body}\n</table></div>'


def terms(definitions: Mapping[str, str]) -> str:
    """A definition list; definitions are HTML."""
    made = "\n".join(
        f"<dt>{escape(term)}</dt><dd>{html}</dd>" for term, html in definitions.items()
    )
    return f"<dl>\n{made}\n</dl>"


def clean(text: str) -> str:
    """A text escaped for HTML; of paths only the last part is kept."""

    def last(match: re.Match[str]) -> str:
        parts = [part for part in re.split(r"[\\/]", match.group()) if part]
        return parts[-1] if len(parts) > 1 else match.group()

    return escape(_PATH.sub(last, text))
