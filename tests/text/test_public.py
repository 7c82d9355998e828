"""What `prefrl.text` exports, and what importing it costs."""

import subprocess
import sys

import pytest

import prefrl.text


@pytest.mark.parametrize("name", prefrl.text.__all__)
def test_every_public_name_is_there(name):
    assert getattr(prefrl.text, name) is not None


def test_another_name_is_not():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = prefrl.text.Nothing


def test_importing_the_package_imports_neither_torch_nor_transformers():
    code = "import sys, prefrl, prefrl.text; print({'torch', 'transformers', 'datasets'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_who_has_not_installed_it_is_told_what_to_do():
    code = "import sys; sys.modules['peft'] = None; import prefrl.text"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == 'ValueError: language models need peft: pip install "prefrl[text]"'
