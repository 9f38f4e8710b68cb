"""The scan cases: they include all golden cases, and the oracle is correct."""

from __future__ import annotations

import numpy as np
import pytest
from golden_data import load_json
from ops.cases import CASES, REFERENCE_ONLY, scan_in_float64

GOLDEN = [case["name"] for case in load_json("op_selective_scan")["cases"]]


def test_every_golden_case_is_in_the_table_or_excluded_with_a_reason():
    assert {case.name for case in CASES if case.name in GOLDEN} | set(REFERENCE_ONLY) == set(GOLDEN)
    assert all(REFERENCE_ONLY.values())


@pytest.mark.parametrize("case", [case for case in CASES if case.name in GOLDEN], ids=repr)
def test_oracle_equals_the_golden_values(case):
    y = scan_in_float64(case.inputs, **case.attributes)
    np.testing.assert_allclose(y, case.expected, rtol=0, atol=1e-12 * np.abs(case.expected).max())
