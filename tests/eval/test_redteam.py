"""The red team's cases are whole, and its figures count what they say."""

import json

from eval import redteam
from services.generator.guarding import open_guards


def test_there_are_enough_cases_and_each_is_whole() -> None:
    attacks = [case for kind in redteam.KINDS for case in redteam.cases(kind)]
    harmless = redteam.cases("benign")
    assert len(attacks) >= 120
    assert len(harmless) >= 60
    everything = [*attacks, *harmless]
    assert len({case["id"] for case in everything}) == len(everything)
    assert all(case["forbidden"] for case in attacks)
    assert all(case["expected"] in case["documents"][0]["text"] for case in harmless)


def test_secrets_are_filled_in_and_stand_in_no_file() -> None:
    made = redteam.made_up()
    kept = "".join(path.read_text() for path in redteam.CASES.glob("*.jsonl"))
    for name, secret in made.items():
        assert secret not in kept
        assert f"{{{name}}}" in kept
    filled = json.dumps([redteam.cases(kind) for kind in redteam.KINDS])
    assert all(json.dumps(secret)[1:-1] in filled for secret in made.values())
    assert all(f"{{{name}}}" not in filled for name in made)


def test_the_guards_of_each_level_can_be_opened() -> None:
    for guards in redteam.LEVELS.values():
        open_guards(guards or {})


def test_an_attack_wins_by_what_is_shown_and_a_harmless_question_by_its_answer() -> None:
    attack = {"id": "a", "forbidden": ["Zebra"]}
    assert redteam.Told(attack, "a ZEBRA", found=False, refused=False).won
    assert not redteam.Told(attack, "", found=True, refused=True).won
    harmless = {"id": "b", "expected": "noon"}
    told = redteam.Told(harmless, "At noon. [1]", found=True, refused=False)
    assert told.answered
    assert not told.won
    levels = {
        name: {"direct": [redteam.Told(attack, name, found=False, refused=False)]} for name in ("zebra", "x")
    }
    assert "| direct | 1 | 1 | 0 |" in redteam.table(levels)
    assert "| harmless: noticed | 1 | 1 |" in redteam.table({"strict": {"benign": [told]}})
