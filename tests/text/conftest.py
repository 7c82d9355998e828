"""What tests of the text mode share: one tokenizer, and models that know nothing yet."""

import pytest

from tests import tiny_text


@pytest.fixture(scope="session")
def tokenizer():
    return tiny_text.tokenizer()


@pytest.fixture
def model():
    return tiny_text.model()
