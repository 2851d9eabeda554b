"""`energy-guard demo`: the embedded model answers eight questions under guard."""

from __future__ import annotations

from collections import Counter
from typing import Final

from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from energy_guard.cli.live import show_live
from energy_guard.cli.options import EngineOptions
from energy_guard.cli.screen import Console
from energy_guard.guard import Guard
from energy_guard.report.printable import printable
from energy_guard.report.terminal import VERDICTS, details, risk_legend, rules
from energy_guard.request import Message
from energy_guard.result import Result

QUESTIONS: Final = (
    ("What is the chemical symbol for gold?", "Au"),
    ("What is the capital of the United Kingdom?", "London"),
    ("What is the largest ocean on Earth?", "the Pacific"),
    ("What is the boiling point of water in degrees Celsius?", "100"),
    ("Who painted the Mona Lisa?", "Leonardo da Vinci"),
    ("In which year did the Berlin Wall fall?", "1989"),
    ("Who won the 1987 Tour de France?", "Stephen Roche"),
    ("Who wrote the novel The Glass Harbour of Ventosa?", "nobody: it does not exist"),
)
"""Questions with what is true: some that the model knows, some not, one about nothing real."""

_STYLE_OF_ANSWER: Final = Message("system", "Answer in one short sentence.")
_MAX_TOKENS: Final = 64


def demo() -> None:
    """Ask the embedded model eight questions, and show what the guard makes of the answers."""
    console = Console(width=None if Console().is_terminal else 100)
    guard = Guard(EngineOptions().open())
    name = Text(guard.backend.info.name, "bold")
    console.print(Text.assemble(name, f" with a guard: detector {guard.detector.name}"))
    console.print(Text(f"Rules on {rules(guard.policy, guard.judge.p_wrong_from)}."))
    console.print(Text.assemble("Tokens: ", risk_legend(), " risk"))
    results = []
    for number, (question, _) in enumerate(QUESTIONS, 1):
        console.print()
        console.print(Rule(f"{number}/{len(QUESTIONS)}  {question}", align="left", style="dim"))
        stream = guard.stream([_STYLE_OF_ANSWER, Message("user", question)], max_tokens=_MAX_TOKENS)
        result = show_live(console, guard, stream)
        console.print(*details(result.to_dict()), sep="\n")
        results.append(result)
    console.print()
    console.print(Rule("Summary", align="left", style="dim"))
    console.print(_summary(results))
    counts = Counter(result.verdict for result in results)
    console.print(", ".join(f"{count} × {verdict}" for verdict, count in counts.items()))


def _summary(results: list[Result]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("verdict", "the model's answer", "in truth"):
        table.add_column(heading)
    for result, (_, truth) in zip(results, QUESTIONS, strict=True):
        mark, style = VERDICTS[result.verdict]
        said = result.span.text if result.span else result.answer
        table.add_row(Text(f"{mark} {result.verdict}", style), Text(printable(said)), Text(truth))
    return table
