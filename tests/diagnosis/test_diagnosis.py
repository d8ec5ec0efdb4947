from __future__ import annotations

import json

from twotower.diagnosis import Diagnosis, Finding, without_consequences


def finding(code: str) -> Finding:
    return Finding(code, "fault", code, (f"evidence of {code}",), "why", ("fix",))


def merged(*codes: str) -> dict[str, int]:
    return {entry.code: len(entry.evidence) for entry in without_consequences([finding(code) for code in codes])}


def test_a_consequence_becomes_evidence_of_its_cause() -> None:
    assert merged("collapsed_vectors", "stuck_loss") == {"collapsed_vectors": 2}
    assert merged("stuck_loss", "temperature") == {"temperature": 2}
    assert merged("collapsed_vectors", "popularity_only") == {"popularity_only": 2}
    assert merged("overfitting", "idle_features") == {"overfitting": 2}
    assert merged("collapsed_vectors", "stuck_loss", "popularity_only", "idle_features")["popularity_only"] == 3
    (cause,) = without_consequences([finding("temperature"), finding("stuck_loss")])
    assert cause.evidence[1] == 'in consequence, "stuck_loss": evidence of stuck_loss'


def test_what_stands_alone_stays() -> None:
    assert merged("stuck_loss") == {"stuck_loss": 1}
    assert merged("leakage", "idle_features", "head_bias") == {"leakage": 1, "idle_features": 1, "head_bias": 1}


def test_to_json_is_plain() -> None:
    diagnosis = Diagnosis((finding("leakage"),), ("leakage",), {"overfitting": "no curve"})
    assert json.loads(json.dumps(diagnosis.to_json())) == {
        "findings": [
            {
                "code": "leakage",
                "severity": "fault",
                "title": "leakage",
                "evidence": ["evidence of leakage"],
                "why": "why",
                "fix": ["fix"],
            }
        ],
        "made": ["leakage"],
        "not_made": {"overfitting": "no curve"},
    }
