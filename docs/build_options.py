"""Writes the tables of options in docs/options.md from where the options are declared, in `sycam.job`.

python docs/build_options.py            # write
python docs/build_options.py --check    # exit code 1 where the file is not what would be written
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sycam.job import ImageSpec, Job, ModelSpec, OutputSpec, ScoringSpec, SearchSpec, TerminalSettings

PAGE = Path(__file__).parent / "options.md"
BEGIN, END = "<!-- options: written by docs/build_options.py -->", "<!-- end of options -->"
GROUPS = {
    "Search": (Job, SearchSpec), "Model": (ModelSpec,), "Images": (ImageSpec,), "Scoring": (ScoringSpec,),
    "Terminals": (TerminalSettings,), "Output": (OutputSpec,),
}  # fmt: skip


def tables() -> str:
    """Every option by group."""
    parts = []
    for title, groups in GROUPS.items():
        lines = [f"### {title}", "", "| option | default | what it is | flag |", "| --- | --- | --- | --- |"]
        for group in groups:
            for name, one in group.options().items():
                help_text = re.sub(r"\|", r"\\|", one.help)
                lines.append(
                    f"| `{name}` | {one.default_text or 'none'} | {help_text} | {f'`{one.flag}`' if one.shown else ''} |"
                )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def main() -> None:
    """Writes the tables, or compares them."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    made = f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.split(END)[1]}"
    if "--check" in sys.argv:
        if made != text:
            sys.exit("docs/options.md is not what docs/build_options.py writes: run it")
        return
    PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
