"""README's lines on LangChain do what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from langchain_energy_guard import ChatEnergyGuard

from energy_guard.backends import Scripted

README = Path(__file__).parents[2].joinpath("README.md").read_text("utf-8")
SECTION = README.split("## In LangChain")[1]
CODE, PRINTED = re.findall(r"```(?:python|text)\n(.*?)```", SECTION, re.DOTALL)[:2]


@pytest.mark.model
def test_the_readme_prints_what_its_code_prints(capsys: pytest.CaptureFixture[str]) -> None:
    exec(CODE, {})
    printed = capsys.readouterr().out
    number = r"\d\.\d\d(?=,)"  # of P(wrong): processors differ in the last digits
    assert re.sub(number, "…", printed) == re.sub(number, "…", PRINTED)
    numbers, expected = (re.findall(number, text) for text in (printed, PRINTED))
    assert list(map(float, numbers)) == pytest.approx(list(map(float, expected)), abs=0.03)
    assert len(numbers) == 2


def test_its_code_runs_with_a_model_that_has_no_profile(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = ChatEnergyGuard.of
    script = Scripted.saying([("Paris", 0.97)], [("Lyon", 0.01)])

    def scripted(model: str, **options: Any) -> ChatEnergyGuard:
        return of(script, **options)

    monkeypatch.setattr(ChatEnergyGuard, "of", scripted)
    exec(CODE, {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Paris | accept | nll:max of the exact answer is 0.03")
    assert second.startswith("I am not sure enough to answer that. | abstain | nll:max of")


def test_the_extra_that_it_names_brings_the_engine() -> None:
    assert "pip install '.[langchain,demo]'" in CODE
    text = Path(__file__).parents[2].joinpath("pyproject.toml").read_text("utf-8")
    demo = next(line for line in text.splitlines() if line.startswith("demo = "))
    assert "energy-guard[llama-cpp]" in demo
