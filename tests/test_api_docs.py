"""``docs/api.md`` is what the docstrings say, and names every door."""

import re

import webfarm
from tests.kit import api_docs


def test_the_page_is_made_from_the_docstrings_of_today():
    """If it fails: python -m tests.kit.api_docs."""
    assert api_docs.PAGE.read_text() == api_docs.render()


def test_every_name_that_an_app_imports_has_a_section_with_a_text():
    page = api_docs.render()
    sections = dict(re.findall(r"^### `(\w+)[^\n]*\n\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(webfarm.__all__) <= sections.keys()
    assert all(sections[name].strip() for name in webfarm.__all__)


def test_no_mark_of_restructured_text_is_left():
    prose = re.sub(r"^```.*?^```$", "", api_docs.render(), flags=re.MULTILINE | re.DOTALL)
    assert "``" not in prose
    assert "Args:" not in prose
