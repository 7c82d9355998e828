"""Names become objects; whatever is no name becomes one line, and nothing of it is run."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from prefrl import oracles, queries, schedules
from prefrl.names import UnknownName, attribute, import_module, resolve, unknown
from prefrl.oracles import Equal, Mistaken, Myopic, Skipping, Stochastic, Synthetic
from prefrl.queries import Coverage, InformationGain, PolicyAligned
from prefrl.schedules import Hyperbolic


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("synthetic", Synthetic()),
        ("Synthetic", Synthetic()),
        ("SYNTHETIC", Synthetic()),
        ("synthetic()", Synthetic()),
        ("stochastic(beta=5)", Stochastic(beta=5)),
        ("mistaken(synthetic, chance=0.2)", Mistaken(Synthetic(), chance=0.2)),
        ("mistaken(synthetic, 0.2)", Mistaken(Synthetic(), 0.2)),
        ("mistaken(oracle=stochastic(beta=5.0), seed=3)", Mistaken(Stochastic(5.0), seed=3)),
        ("skipping(equal(mistaken(Myopic)), chance=1e-1)", Skipping(Equal(Mistaken(Myopic())), chance=0.1)),
        (" mistaken( synthetic ) ", Mistaken(Synthetic())),
    ],
)
def test_an_oracle_is_made_from_its_name(text, expected):
    assert resolve(text.strip(), oracles, "oracle") == expected


@pytest.mark.parametrize("text", ["information_gain", "InformationGain", "informationgain", "Information_Gain"])
def test_case_and_underscores_do_not_matter(text):
    assert resolve(text, queries, "strategy") == InformationGain()


def test_any_kind_of_component_has_a_name():
    assert resolve("policy_aligned(coverage(pool=3))", queries, "strategy") == PolicyAligned(Coverage(pool=3))
    assert resolve("hyperbolic(constant=0.2)", schedules, "schedule") == Hyperbolic(constant=0.2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sythetic", "no oracle 'sythetic': did you mean 'synthetic'?"),
        ("mistaken(skiping)", "no oracle 'skiping': did you mean 'skipping'?"),
        ("xyz", "no oracle 'xyz': there are equal, human, mistaken, myopic, skipping, stochastic, synthetic"),
        ("observe", "no oracle 'observe': "),  # a function of the module, but no component
        ("mistaken(chance=2)", "oracle 'mistaken(chance=2)': chance is 2: give a share from 0 to 1"),
        ("stochastic(bta=2)", "no setting of stochastic 'bta': did you mean 'beta'?"),
        ("equal(synthetic, of=1, chance=1)", "no setting of equal 'of': there are "),
        ("mistaken(chance=", "cannot read oracle 'mistaken(chance=': write a name, or a name with arguments"),
        ("", "cannot read oracle '': write a name, or a name with arguments"),
        ("a b", "cannot read oracle 'a b': write a name, or a name with arguments"),
        ("-" * 100_000 + "1", "cannot read oracle '-"),
        ("a\0b", r"cannot read oracle 'a\x00b': write a name, or a name with arguments"),
    ],
)
def test_what_names_nothing_is_told_in_one_line(text, words):
    with pytest.raises(UnknownName) as error:
        resolve(text, oracles, "oracle")
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "code",
    [
        "__import__('os').mkdir('pwned')",
        "__import__('os')",
        "mistaken(__import__('os').mkdir('pwned'))",
        "mistaken(chance=open('pwned', 'w').write('x'))",
        "open('pwned', 'w')",
        "(lambda f=open: f('pwned', 'w'))()",
        "[open('pwned', 'w') for _ in 'x']",
        "mistaken.__class__.__base__",
        "mistaken(chance=0.1 + 0.1)",
        "mistaken(*[1])",
        "mistaken(chance=synthetic.seed)",
    ],
)
def test_code_is_never_evaluated(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownName):
        resolve(code, oracles, "oracle")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes a module of the user's into the current folder; its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(code, name="users_own"):
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    yield write
    sys.modules.pop("users_own", None)


CODE = """
from prefrl.oracles import Mistaken, Synthetic

def likes_height(left, right):
    return float(left.obs[-1, 0] > right.obs[-1, 0])

class Grumpy:
    def __init__(self, chance=0.5):
        self.chance = chance

class Demanding:
    def __init__(self, chance):
        self.chance = chance

five = 5
"""


def test_a_function_of_the_users_is_taken_as_it_is(mine):
    name = mine(CODE)
    assert resolve(f"{name}:likes_height", oracles, "oracle") is sys.modules[name].likes_height


def test_a_class_of_the_users_is_made(mine):
    assert resolve(f"{mine(CODE)}:Grumpy", oracles, "oracle").chance == 0.5


@pytest.mark.parametrize(
    "call", ["os:system('touch pwned')", "subprocess:Popen(['touch', 'pwned'])", "os:mkdir('pwned')"]
)
def test_a_config_of_a_strangers_cannot_call_what_it_likes(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownName, match="write module:name, without arguments"):
        resolve(call, oracles, "oracle")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("likes_heigth", "no oracle 'likes_heigth': did you mean 'likes_height'?"),
        (
            "Demanding",
            "oracle 'users_own:Demanding': Demanding.__init__() missing 1 required positional argument: 'chance'",
        ),
        ("__import__('os')", "cannot read oracle"),
        ("", "cannot read oracle"),
    ],
)
def test_what_the_users_module_lacks_is_told_in_one_line(mine, name, words):
    with pytest.raises(UnknownName) as error:
        resolve(f"{mine(CODE)}:{name}", oracles, "oracle")
    assert str(error.value).startswith(words)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("1 / 0", "cannot import 'users_own': ZeroDivisionError: division by zero"),
        ("import no_such_package", "cannot import 'users_own': ModuleNotFoundError: No module named 'no_such_package'"),
        ("def f(:", "cannot import 'users_own': SyntaxError: "),
        ("raise RuntimeError('first line\\nsecond line')", "RuntimeError: first line second line"),
    ],
)
def test_whatever_the_users_module_raises_becomes_one_line(mine, code, words):
    with pytest.raises(UnknownName) as error:
        resolve(f"{mine(code)}:anything", oracles, "oracle")
    assert words in str(error.value) and "\n" not in str(error.value)


def test_the_cause_of_a_failed_import_is_kept(mine):
    with pytest.raises(UnknownName) as error:
        import_module(mine("1 / 0"))
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_a_module_that_is_not_there_is_told():
    with pytest.raises(UnknownName, match="cannot import 'no_such_module'"):
        resolve("no_such_module:x", oracles, "oracle")


def test_an_attribute_is_given_as_it_is(mine):
    assert isinstance(attribute(f"{mine(CODE)}:Grumpy", "net"), type)


def test_an_attribute_that_is_not_there_is_told_with_its_nearest(mine):
    with pytest.raises(UnknownName, match="no net 'Grumppy': did you mean 'Grumpy'"):
        attribute(f"{mine(CODE)}:Grumppy", "net")


def test_what_a_module_imports_is_not_suggested(mine):
    name = mine(f"import math\nfrom functools import lru_cache\n{CODE}")
    with pytest.raises(UnknownName, match=r"no oracle 'xyz': there are Demanding, Grumpy, likes_height$"):
        attribute(f"{name}:xyz", "oracle")
    with pytest.raises(UnknownName, match=r"no number 'xyz': there are five$"):
        attribute(f"{name}:xyz", "number", lambda thing: isinstance(thing, int))


def test_what_a_package_hands_on_from_its_own_modules_is_suggested(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "users_package").mkdir()
    (tmp_path / "users_package" / "__init__.py").write_text("from functools import wraps\nfrom .inner import short\n")
    (tmp_path / "users_package" / "inner.py").write_text("def short(prompts, texts): ...\n")
    with pytest.raises(UnknownName, match=r"no reward 'shrot': did you mean 'short'\?$"):
        attribute("users_package:shrot", "reward")
    with pytest.raises(UnknownName, match=r"no reward 'xyz': there are short$"):
        attribute("users_package:xyz", "reward")


def test_initials_are_told_what_they_stand_for():
    assert str(unknown("setting", "lr", ["gamma", "learning_rate"])).endswith("did you mean 'learning_rate'?")


def test_an_unknown_name_is_an_error_of_values():
    """So that the command line tells it as it tells any other."""
    assert isinstance(unknown("oracle", "x", ["y"]), ValueError)


def test_only_what_a_module_defines_is_built_in():
    """`queries` imports dataclasses and arrays; they are no strategies."""
    builtin = ModuleType("builtin")
    builtin.imported, builtin._hidden = SimpleNamespace, type("_hidden", (), {"__module__": "builtin"})
    for name in ("imported", "SimpleNamespace", "_hidden"):
        with pytest.raises(UnknownName):
            resolve(name, builtin, "strategy")


def test_further_modules_lend_their_names():
    class Size:
        def __init__(self, by=1):
            self.by = by

    Size.__module__ = "sizes"
    sizes = ModuleType("sizes")
    vars(sizes)["Size"] = Size
    assert resolve("size(by=2)", schedules, "schedule", sizes).by == 2
    assert resolve("hyperbolic", schedules, "schedule", sizes) == Hyperbolic()


def test_an_acronym_is_told_as_one_word():
    class SFT:
        __module__ = "fits"

    class KWise:
        __module__ = "fits"

    fits = ModuleType("fits")
    vars(fits).update(SFT=SFT, KWise=KWise)
    with pytest.raises(UnknownName, match="did you mean 'sft'"):
        resolve("stf", fits, "fit")
    with pytest.raises(UnknownName, match="did you mean 'k_wise'"):
        resolve("kwize", fits, "fit")
