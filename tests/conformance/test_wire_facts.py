"""The manifest of wire facts: each names tests that there are, and the page is made from it."""

from __future__ import annotations

import re

from tests.conformance.wire_facts import PAGE, ROOT, page, read_facts


def test_each_fact_names_tests_that_exist_and_no_two_are_one() -> None:
    facts = read_facts()["fact"]
    assert len({fact["id"] for fact in facts}) == len(facts)
    for fact in facts:
        assert fact["end"] in ("client", "local")
        assert fact["tests"], fact["id"]
        for test in fact["tests"]:
            path, _, name = test.partition("::")
            source = (ROOT / path).read_text("utf-8")
            assert not name or re.search(rf"^def {name}\(", source, re.MULTILINE), test


def test_each_test_of_the_wires_forms_proves_a_fact() -> None:
    named = {test for fact in read_facts()["fact"] for test in fact["tests"]}
    path = "tests/conformance/test_wire_variants.py"
    for name in re.findall(r"^def (test_\w+)\(", (ROOT / path).read_text("utf-8"), re.MULTILINE):
        assert f"{path}::{name}" in named, name


def test_the_page_is_what_the_manifest_makes() -> None:
    assert PAGE.read_text("utf-8") == page(), "make docs-fidelity"
