"""The benchmark of single series scores what it says it scores."""

import numpy as np
import pytest

from benchmarks.series import Case, cases, gained, rated, windows_of, worth


def a_case(anomalies, rows=1000):
    return Case(name="x", times=np.arange(rows) * 300.0, values=np.zeros(rows), anomalies=anomalies)


def score_at(case, *rows):
    scored = np.zeros(len(case.values))
    scored[list(rows)] = 0.9
    return rated([case], [scored], "standard")[0]


def test_silence_is_0_and_the_first_row_of_each_window_100():
    case = a_case([(400, 420), (700, 720)])
    assert score_at(case) == pytest.approx(0)
    begins = [begin for begin, _ in windows_of(case)]
    assert score_at(case, *begins) == pytest.approx(100)


def test_earlier_is_better_and_elsewhere_costs():
    case = a_case([(500, 520)])
    (begin, end), *_ = windows_of(case)
    assert score_at(case, begin) > score_at(case, (begin + end) // 2) > score_at(case, end - 1) > 0
    assert score_at(case, begin) > score_at(case, begin, 900)
    assert gained(case, np.array([end + 2]), "standard") > gained(case, np.array([900]), "standard")
    assert worth(-1.0) == pytest.approx(-worth(1.0))


def test_what_is_told_in_the_first_rows_does_not_count():
    case = a_case([(500, 520)])
    begin = windows_of(case)[0][0]
    assert score_at(case, begin, 10, 20) == score_at(case, begin)


def test_every_series_is_made_the_same_again():
    one, other = (next(iter(cases([3]))) for _ in range(2))
    assert (one.values == other.values).all()
    for case in cases([1]):
        assert len(case.times) == len(case.values)
        assert (np.diff(case.times) > 0).all()
        for begin, end in case.anomalies:
            assert 0 < begin < end <= len(case.values)
