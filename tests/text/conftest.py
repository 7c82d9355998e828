"""What tests of the text mode share: one tokenizer, and models that know nothing yet."""

import pytest

from prefrl.summarize.run import run
from tests import tiny_summaries, tiny_text


@pytest.fixture(scope="session")
def tokenizer():
    return tiny_text.tokenizer()


@pytest.fixture
def model():
    return tiny_text.model()


@pytest.fixture(scope="session")
def summariser(tmp_path_factory):
    """The folder of a tiny summariser of which every stage is finished, to be copied and not changed."""
    folder = tiny_summaries.begun(tmp_path_factory.mktemp("summariser") / "done")
    run(folder)
    return folder.path
