"""scripts/bench: ratios of one run, each beside its floor, as a table and as JSON. Arguments are names of figures (all without). Ends with 0 where every floor
was met, 1 where one was missed or a figure could not be measured, 2 where the arguments were wrong."""

import argparse
import json
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "integration"))

import figures  # noqa: E402


class Table:
    def __init__(self):
        self.rows, self.missed = [], 0

    def report(self, figure, value, unit, explanation, at_most=None, at_least=None):
        """One line: figure, value, unit, floor, whether it is met, what it is."""
        floor = at_most if at_most is not None else at_least
        met = None if floor is None else value <= floor if at_most is not None else value >= floor
        self.missed += met is False
        sign = "<=" if at_most is not None else ">="
        verdict = "" if floor is None else f"{sign} {floor:<8g} {'met' if met else 'MISSED'}"
        print(f"{figure:<34} {value:>11.2f} {unit:<6} {verdict:<19} {explanation}", flush=True)
        self.rows.append({"figure": figure, "value": round(value, 3), "unit": unit, "floor": floor, "floor_kind": None if floor is None else "at_most" if at_most is not None else "at_least",
                          "met": met, "explanation": explanation})

    def skipped(self, figure, why):
        print(f"{figure:<34} not measured: {why}", flush=True)
        self.rows.append({"figure": figure, "value": None, "unit": None, "floor": None, "floor_kind": None, "met": False, "explanation": why})
        self.missed += 1


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description="Measures the connection layer: nerveshubd on the first core, nerveshub-fleet load on the last; ratios of one run, floors beside them.",
                                     epilog="figures:\n" + "\n".join(f"  {f.name:<12} {f.help}" for f in figures.ALL))
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help="only these")
    parser.add_argument("--output", default="bench.json", metavar="FILE", help="where the JSON goes (scripts/bench: build/bench.json)")
    parser.add_argument("--scale", type=float, default=1.0, metavar="X", help="devices in tenths or hundredths, to try things out: the floors are meant for 1")
    options = parser.parse_args()
    names = {f.name: f for f in figures.ALL}
    for name in options.figures:
        if name not in names:
            parser.error(f"no figure '{name}'; --help lists them")
    table, began = Table(), time.monotonic()
    with figures.Context(table, options.scale) as context:
        for figure in [names[n] for n in options.figures] or figures.ALL:
            try:
                figure.run(context)
            except Exception as error:  # the other figures are still worth having
                traceback.print_exc()
                table.skipped(figure.name, f"{type(error).__name__}: {error}")
    Path(options.output).write_text(json.dumps(table.rows, indent=2) + "\n")
    print(f"{len(table.rows)} rows in {time.monotonic() - began:.0f} s, {table.missed} floors missed; {options.output}")
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
