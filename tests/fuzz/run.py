"""A long run of the fuzzers: every decoder in turn, inputs drawn from a seed, failing ones kept and made smaller.

    python tests/fuzz/run.py --minutes 60 --seed 1
    python tests/fuzz/run.py --minutes 5 --seed 1 --target payload --target ecg
    python tests/fuzz/run.py --input .scad/fuzz/1/payload-….bin --target payload     one input again

Exit status: 0 when nothing failed, 1 when something did.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parents[2]))

from fuzz_loop import as_json, keeper, run, summary
from fuzz_records import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--target", action="append", choices=sorted(TARGETS), help="only these; may be repeated"
    )
    parser.add_argument("--folder", type=Path, help="where failing inputs go; .scad/fuzz/SEED by default")
    parser.add_argument("--input", type=Path, help="check this one input and show what happens")
    asked = parser.parse_args()
    chosen = [TARGETS[name] for name in asked.target or TARGETS]
    if asked.input is not None:
        for target in chosen:
            print(target.name, target.check(asked.input.read_bytes()))
        return 0
    folder = asked.folder or Path(".scad") / "fuzz" / str(asked.seed)

    def say(text: str) -> None:
        print(text, flush=True)

    keep = keeper(folder, TARGETS, say)
    tally = run(chosen, asked.seed, asked.minutes * 60, keep, lambda t: say(summary(t)))
    say(summary(tally))
    (folder / "summary.json").write_text(as_json(tally, asked.seed), encoding="utf-8")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
