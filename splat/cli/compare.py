"""`splat compare`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields

from splat.cli.asked.compare import Compare
from splat.comparison import compare
from splat.comparison.asked import budgets_of, recipes_of, seeds_of
from splat.comparison.compare import Comparison
from splat.comparison.request import Request
from splat.jobs import Interrupted
from splat.options import Options
from splat.options.parse import parsed
from splat.system.errors import FAILED


def main(arguments: Sequence[str]) -> int:
    """Compare strategies; the exit code."""
    asked = parsed(Compare, "compare", arguments)
    if asked.sizes:
        return _curves(asked)
    if asked.only_report:
        return _reported(compare.read(asked.out, asked.reference), asked)
    try:
        comparison = compare.compare(
            _request(asked),
            asked.out,
            workers=asked.workers,
            threads=asked.training.threads,
            retry=asked.retry,
            reference=asked.reference,
            quiet=asked.quiet,
            where=asked.on,
        )
    except Interrupted as stop:
        _reported(compare.read(asked.out, asked.reference), asked)
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 128 + stop.number
    return _reported(comparison, asked)


def _curves(asked: Compare) -> int:
    """Draw quality against bytes; the exit code."""
    from splat.comparison import rate_report, rates

    if asked.budgets or asked.only_report:
        raise ValueError("--sizes says how large files are to be; leave --budget and --only-report")
    request = _request(asked)
    if not request.scenes or not request.strategies:
        raise ValueError(
            '--sizes needs scenes and --strategies, such as "mrnf + renew, forest-inspired"'
        )

    def compared(part: Request) -> Comparison:
        return compare.compare(
            part,
            asked.out,
            workers=asked.workers,
            threads=asked.training.threads,
            retry=asked.retry,
            quiet=asked.quiet,
            where=asked.on,
        )

    sizes, kinds = rates.sizes_of(asked.sizes), rates.kinds_of(asked.formats)
    try:
        points = rates.curves(request, sizes, kinds, asked.out, compared)
    except Interrupted as stop:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 128 + stop.number
    rate_report.write_curves(points, asked.out)
    if asked.json:
        print(json.dumps([asdict(point) for point in points], indent=1))
    else:
        print(rate_report.table_text(points), end="")
    return 0


def _request(asked: Compare) -> Request:
    values = {f.name: getattr(asked.training, f.name) for f in fields(Options)}
    options = Options(**values)
    return Request(
        scenes=asked.scenes,
        strategies=recipes_of(asked.strategies),
        budgets=budgets_of(asked.budgets, options.sh_degree, options.budget_of)
        if asked.budgets
        else (),
        seeds=seeds_of(asked.seeds) if asked.seeds else (),
        options=options,
        reading=asked.reading,
        eval_every=asked.eval_every,
        net=asked.net,
        off_path=asked.off_path,
    )


def _reported(comparison: Comparison, asked: Compare) -> int:
    """Write the report and print the figures; the exit code."""
    from splat.comparison.report import plain_results, summary_text, write_report

    write_report(comparison, asked.out)
    print(
        json.dumps(plain_results(comparison), indent=1)
        if asked.json
        else summary_text(comparison, asked.out)
    )
    return FAILED if any(outcome.state == "failed" for outcome in comparison.outcomes) else 0
