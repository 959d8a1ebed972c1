"""Every reason code has advice."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_parts import ANYTHING, NAMES, RATIOS, RULE

import voiceauthd
from voiceauthd.config.schema import GateConfig
from voiceauthd.scoring.advice import ADVICE
from voiceauthd.scoring.decide import identify, verify
from voiceauthd.scoring.decision import Score
from voiceauthd.speech.quality_gate import refusal
from voiceauthd.speech.window import Quality

PACKAGE = Path(voiceauthd.__file__).parent
SOURCES = ("speech/quality_gate.py", "scoring/decide.py", "scoring/sequential.py", "scoring/policy.py")
"""Files that produce reason codes."""

DECISIONS = {"Decision", "Identified", "UsageError"}
"""Calls whose second argument is a reason."""

CODE = re.compile(r"[a-z]+(_[a-z]+)*")


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the code strings that an expression can evaluate to."""
    if isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif isinstance(node, ast.Tuple):
        for part in node.elts:
            yield from texts(part)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
        yield node.value


def reasons(source: str) -> set[str]:
    """Return every reason code that this source can produce: in decisions, and as returned strings."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Return) and node.value is not None:
            found |= set(texts(node.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DECISIONS:
            assert not node.keywords, "this test looks at the second argument"
            found |= set(texts(node.args[1]))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "undecided":
            found |= set(texts(node.args[0]))
    return found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f():\n    return None, 'one' if self.x == 'no' else 'two'", {"one", "two"}),
        ("Decision(Outcome.REJECT, 'no_match', score, margin)", {"no_match"}),
        ("def f():\n    return Identified(a, reason)", set()),
        ("def f():\n    return f'{x} is wrong', 'Not a code.'", set()),
    ],
)
def test_the_reasons_in_a_source_are_found(source: str, found: set[str]) -> None:
    assert reasons(source) == found


def test_every_reason_in_the_sources_has_advice() -> None:
    given_ = {file: reasons((PACKAGE / file).read_text(encoding="utf-8")) for file in SOURCES}
    assert all(given_.values()), "each file produces some"
    assert {"unsure", "not_one_voice", "too_quiet", "not_demonstrated", "no_speech"} <= set().union(*given_.values())
    for file, codes in given_.items():
        assert codes <= ADVICE.keys(), file


def test_every_reason_added_by_the_service_has_advice() -> None:
    found = set()
    for file in ("service/deciding.py", "pipeline/recording_decision.py"):
        found |= reasons((PACKAGE / file).read_text(encoding="utf-8"))
    assert {"embedding_failed", "source_lost"} <= found <= ADVICE.keys()


def test_advice_is_a_sentence() -> None:
    for code, sentence in ADVICE.items():
        assert CODE.fullmatch(code), code
        assert sentence[0].isupper(), code
        assert sentence.endswith("."), code
        assert "\n" not in sentence, code
        assert code == "match" or 40 <= len(sentence) <= 200, code


VALUES = st.tuples(ANYTHING, ANYTHING, st.none() | ANYTHING)


@settings(deadline=None)
@given(values=st.lists(VALUES, max_size=4), speech=ANYTHING, agreement=ANYTHING)
def test_every_decision_has_advice(
    values: list[tuple[float, float, float | None]], speech: float, agreement: float
) -> None:
    scores = [Score(name, *each) for name, each in zip(NAMES, values, strict=False)]
    for rule in (RULE, RATIOS):
        assert verify("anna", scores, speech, agreement, rule).reason in ADVICE
        assert identify(scores, speech, agreement, rule).reason in ADVICE


@given(snr_db=st.none() | ANYTHING, clipping=ANYTHING, level=ANYTHING)
def test_every_refusal_has_advice(snr_db: float | None, clipping: float, level: float) -> None:
    reason = refusal(Quality(2.0, snr_db, clipping, level), GateConfig())
    assert reason is None or reason in ADVICE
