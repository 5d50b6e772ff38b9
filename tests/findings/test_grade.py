"""Grades come from checks of the design; refuters and causal graphs can only lower them."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.findings.grade import grade
from attribution.results import Check

ORDER = ["cannot conclude", "weak", "moderate", "strong"]


def check(passed, only_lowers=False) -> Check:
    return Check(name="c", question="?", statistic=0.0, std_error=None, threshold=None, passed=passed,
                 text=f"found {passed}.", only_lowers=only_lowers)  # fmt: skip


checks = st.lists(st.builds(check, st.sampled_from([True, False, None])), max_size=4)


@given(checks, st.sampled_from([True, False, None]), st.booleans())
def test_a_refuter_never_raises_a_grade(of_the_design, passed, randomised):
    without = grade(of_the_design, randomised=randomised)
    with_it = grade([*of_the_design, check(passed, only_lowers=True)], randomised=randomised)
    assert ORDER.index(with_it.level) <= ORDER.index(without.level)
    if passed is not False:
        assert with_it == without
    else:
        assert with_it.level == "cannot conclude" and "found False." in with_it.reasons


@pytest.mark.parametrize("passed", [True, None])
def test_refuters_alone_conclude_nothing(passed):
    alone = grade([check(passed, only_lowers=True)])
    assert str(alone) == "cannot conclude: No check of the design was made."
    assert grade([check(passed)]).level == ("moderate" if passed else "weak")


def test_verdicts_have_one_wording():
    plain = dict(statistic=0.0, std_error=None, threshold=None, name="r", question="Is it?", text="t")
    words = [Check(**plain, passed=passed).verdict for passed in (True, False, None)]
    assert words == ["passed", "failed", "not settled"]
    lowers = Check(**plain, passed=None, only_lowers=True)
    assert lowers.verdict == lowers.tidy()["verdict"].item() == "no fault found"
    assert lowers.summary().startswith("Is it? no fault found")
    assert Check(**plain, passed=None, only_lowers=True, table=pd.DataFrame()).verdict == "nothing to test"
