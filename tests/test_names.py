"""The page of NumPy's and PyTorch's names says what is there."""

import re

import dlcore as dl
from bench.names import __main__ as names


def test_the_page_is_made_of_what_is_there():
    page = names.page()
    assert all(part.title in page and len(part.names) > 20 for part in names.parts())
    assert "`concatenate` (`concat`)" in page and "- `nonzero`: a matrix" in page
    for section in page.split("## ")[1:]:
        had, missing = re.search(r"\*\*Has:\*\* (.*)", section)[1], re.search(r"\*\*Has not:\*\* (.*)", section)[1]
        assert not set(re.findall(r"`(\w+)`(?! ?\(`)", had)) & set(re.findall(r"`(\w+)`", missing))
    assert names.has("", "exp") and names.has("", "clone") and not names.has("", "fft")
    assert names.has("linalg", "cholesky") and not names.has("no_such_module", "qqq")


def test_what_differs_is_a_name_of_the_library():
    known = {(part.library, name) for part in names.parts() for name in part.names}
    assert set(names.DIFFERS) <= known


def test_the_committed_page_promises_nothing_that_is_missing():
    for section in names.PAGE.read_text().split("## ")[1:]:
        had = re.search(r"\*\*Has:\*\* (.*)", section)[1]
        module = "nn.functional" if "functional" in section else "linalg" if "linalg" in section.split("\n")[0] else ""
        for name in re.findall(r"`(\w+)`(?:,|$| \()", had):
            assert names.has(module, name), name
    assert dl.__all__
