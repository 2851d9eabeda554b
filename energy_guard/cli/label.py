"""`energy-guard label`: a person says which stored answers are right."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.rule import Rule
from rich.text import Text

from energy_guard.cli.keys import END, Keys
from energy_guard.cli.screen import Console
from energy_guard.evaluate.label_figures import grader_name, label_figures
from energy_guard.extras import needs_extra
from energy_guard.questions.answered import read_answers
from energy_guard.questions.grade import Outcome
from energy_guard.questions.labels import LabelFile, Pass, labels_beside
from energy_guard.questions.to_label import Readable, in_order, read_readable, shuffled
from energy_guard.report.labels import label_lines
from energy_guard.report.printable import printable

_OUTCOMES: Final[dict[str, Outcome]] = {
    "r": "right",
    "w": "wrong",
    "f": "refused",
    "u": "unsure",
}
_SKIP, _BACK, _ALL, _QUIT = "s", "b", "a", END
_SHORT: Final = 400
"""Characters of a passage or an answer that are shown at first."""


def label(
    answers: Annotated[
        Path, typer.Argument(help="answers.jsonl of an evaluation, its folder, or a trace log.")
    ],
    *,
    second_pass: Annotated[
        bool, typer.Option("--second-pass", help="Label what is labelled again, blindly.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Only say what the labels are worth.")
    ] = False,
    labeller: Annotated[
        str | None, typer.Option(help="Who says so; your login name unless given.")
    ] = None,
) -> None:
    """Go through stored answers and say which are right, with one key each.

    Each label is kept at once in a file beside the answers, and eval and calibrate take it in the
    place of the grade. Without a terminal, every line of standard input is a key.
    """
    with needs_extra("eval"):  # better now than after a hundred labels
        import scipy  # noqa: F401
        import sklearn  # noqa: F401
    file, readables = read_readable(answers)
    labels = LabelFile(labels_beside(file))
    console = Console()
    if not report:
        number: Pass = 2 if second_pass else 1
        todo = _todo(readables, labels, number)
        _Labelling(
            console, labels, labeller or getpass.getuser(), number, len(readables), todo
        ).run()
    grader = None if readables[0].grade is None else grader_name(read_answers(file)[0])
    for line in label_lines(label_figures(readables, labels, grader=grader)):
        console.print(Text(printable(line)))
    console.print(Text(str(labels.path), "dim"), soft_wrap=True)


def _todo(readables: Sequence[Readable], labels: LabelFile, number: Pass) -> list[Readable]:
    """What has no label of this pass yet, in the order of the pass."""
    done, first = labels.given(number), labels.given(1)
    if number == 1:
        return [each for each in in_order(readables) if each.digest not in done]
    again = [each for each in readables if each.digest in first and each.digest not in done]
    return shuffled(again, "second")


@dataclass
class _Labelling:
    """A person at work: what is to be labelled, and how far it is.

    given: the labels of this run, by digest.
    """

    console: Console
    labels: LabelFile
    labeller: str
    number: Pass
    of: int
    todo: Sequence[Readable]
    given: dict[str, Outcome] = field(default_factory=dict)
    keys: Keys = field(default_factory=Keys)

    def run(self) -> None:
        """Go on until all is labelled, or the person stops."""
        at = 0
        while at < len(self.todo):
            key = self._ask(at)
            if key == _QUIT:
                break
            at = self._act(key, at)
        left = len(self.todo) - len(self.given)
        self.console.print(
            Text(f"\n{len(self.given)} labelled, {left} left: each label is kept.", "bold")
        )

    def _ask(self, at: int) -> str:
        """Show an answer until a key says what is to happen."""
        readable = self.todo[at]
        self._show(readable, at, short=True)
        allowed = [key for key in _OUTCOMES if key != "f" or readable.answerable]
        allowed += [_SKIP, _BACK, _QUIT]
        while True:
            key = self.keys.next([*allowed, _ALL])
            if key == _ALL:
                self._show(readable, at, short=False)
            elif key is not None:
                return key
            else:
                self.console.print(Text("no such key", "yellow"))

    def _act(self, key: str, at: int) -> int:
        """Do what a key says; return which answer is next."""
        readable = self.todo[at]
        if key == _BACK:
            if not at:
                self.console.print(Text("nothing to undo in this run", "yellow"))
                return 0
            before = self.todo[at - 1]
            if self.given.pop(before.digest, None) is not None:
                self._write(before, None)
            return at - 1
        if key != _SKIP:
            self.given[readable.digest] = _OUTCOMES[key]
            self._write(readable, _OUTCOMES[key])
            self._tell(readable, _OUTCOMES[key])
        return at + 1

    def _write(self, readable: Readable, outcome: Outcome | None) -> None:
        self.labels.add(
            outcome,
            name=readable.id,
            digest=readable.digest,
            labeller=self.labeller,
            number=self.number,
        )

    def _tell(self, readable: Readable, outcome: Outcome) -> None:
        """Say what the grader thinks, now that it cannot influence the label."""
        line = Text(f"→ {outcome}", "bold")
        if readable.grade is not None:
            line.append(f"; the grader says {readable.grade}", "dim")
            if readable.grade != outcome and "unsure" not in (readable.grade, outcome):
                line.append(": you differ", "bold yellow")
        self.console.print(line)

    def _show(self, readable: Readable, at: int, *, short: bool) -> None:
        done = self.of - len(self.todo) if self.number == 1 else 0
        title = f"{done + at + 1} of {done + len(self.todo)}  {printable(readable.task)}"
        self.console.print()
        self.console.print(Rule(Text(title), align="left", style="dim"))
        cut = False
        for name, text, style in _parts(readable):
            shown = _shortened(text) if short else text
            cut = cut or shown != text
            self.console.print(Text.assemble((f"{name}: ", "dim"), (printable(shown), style)))
        self.console.print(_legend(readable, more=cut))


def _parts(readable: Readable) -> list[tuple[str, str, str]]:
    """What a person reads of an answer: names, texts and styles."""
    gold = "; ".join(readable.answers)
    if not readable.answerable:
        gold = "none: the right thing is to say so"
    parts = [
        ("passage", readable.context or "", ""),
        ("question", readable.question, ""),
        ("choices", " · ".join(readable.choices), ""),
        ("gold", gold or ("" if readable.grade is None else "not stored with this answer"), "cyan"),
        ("answer", readable.answer.strip() or "(nothing)", "bold"),
    ]
    return [part for part in parts if part[1]]


def _shortened(text: str) -> str:
    """The beginning and the end of a long text."""
    if len(text) <= _SHORT:
        return text
    return f"{text[: _SHORT * 3 // 4]} […] {text[-_SHORT // 4 :]}"


def _legend(readable: Readable, *, more: bool) -> Text:
    names: dict[str, str] = {**_OUTCOMES, _SKIP: "skip", _BACK: "back"}
    if not readable.answerable:
        del names["f"]
    if more:
        names[_ALL] = "all of it"
    keys = {**names, _QUIT: "quit"}.items()
    return Text("  ").join(Text.assemble((key, "bold"), (f" {name}", "dim")) for key, name in keys)
