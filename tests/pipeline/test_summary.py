"""The statistics of a run: reasons of failures."""

from __future__ import annotations

from vim_deploy.pipeline.summary import Summary
from vim_deploy.results.row import Row


def failed(*reasons: str) -> Summary:
    summary = Summary("engine", "backend", "cpu", "fp32")
    for reason in reasons:
        summary.count(Row("x", "error", reason))
    return summary


def test_equal_reasons_are_shown_with_their_numbers():
    reason = "9000 x 9000 pixels are more than the limit of 5000 pixels"
    assert failed(reason, reason).to_dict()["reasons"] == {reason: 2}
    assert f"2 x {reason}" in failed(reason, reason).text()


def test_similar_reasons_are_shown_as_the_first():
    summary = failed(*(f"{number} x 7 pixels are more than the limit" for number in (9000, 8000, 9000)))
    first = "9000 x 7 pixels are more than the limit (first of several like it)"
    assert summary.to_dict()["reasons"] == {first: 3}


def test_all_reasons_are_shown_up_to_twenty():
    reasons = ["reason " + "a" * number for number in range(30)]
    summary = failed(*reasons, *reasons[:6])
    text = summary.text()
    assert sum(line.startswith(("1 x reason", "2 x reason")) for line in text.splitlines()) == 20
    assert "10 x 10 other reasons: see the rows" in text


def test_the_number_of_reasons_is_bounded():
    summary = failed(*("reason " + "a" * number for number in range(5000)))
    found = summary.to_dict()["reasons"]
    assert len(found) <= 1001
    assert sum(found.values()) == summary.failed == 5000


def test_images_that_are_almost_black_are_reported():
    summary = failed()
    for flags in (("from_16bit", "low_16bit"), ("from_16bit",), ("rotated",)):
        summary.count(Row("x", "ok", flags=flags))
    assert "1 image in 16-bit files with samples of at most 12 bits" in summary.text()
    assert "use --depth" in summary.text() and summary.to_dict()["low_16bit"] == 1
