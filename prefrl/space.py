"""What a search varies: from words such as `learning_rate=1e-4..1e-2:log` to the settings of its runs."""

import ast
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from inspect import Parameter as Argument
from inspect import signature
from typing import Any, get_type_hints

import yaml

from prefrl.control.environments import EnvFacts, sees_frames
from prefrl.control.tasks import algorithm
from prefrl.names import unknown
from prefrl.parts import Parts, find_fit
from prefrl.runs import RunConfig
from prefrl.usual import usual

Plain = None | bool | int | float | str

SETTINGS = get_type_hints(RunConfig)
FIXED = ("env", "hyper", "labels", "reward", "seed", "store", "total_timesteps")
"""Settings that no search varies: values are compared on one task and budget, and over seeds."""
EXAMPLE = "write NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=A,B,C"


@dataclass(frozen=True)
class Parameter:
    """A setting that varies: one of `choices`, or from `low` to `high`, both included and whole numbers if both are."""

    name: str
    """`members`: a setting of the run; `fit.lr`: a number of the reward's fit; any other: one of the algorithm's."""
    choices: tuple[Plain, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False

    @property
    def ends(self) -> tuple[Plain, ...]:
        """Values that all others are like, as to whether they can be."""
        return self.choices or (self.low, self.high)


DEFAULTS: Mapping[str, Sequence[str]] = {
    "ppo": (
        "learning_rate=1e-4..2e-3:log",  # what matters most, and best known by its order of magnitude
        "gamma=0.95,0.98,0.99,0.995",  # looks 20 to 200 steps ahead: the task decides
        "gae_lambda=0.9,0.95,0.98",  # the learned reward's noise is averaged over more steps towards 1
        "ent_coef=0.0,0.001,0.01",  # exploration also finds segments that are worth a question
        "clip_range=0.1,0.2,0.3",  # how far the policy moves before the next refit
    ),
    "a2c": (
        "learning_rate=1e-4..3e-3:log",  # as for ppo; without clipping, a step too far is not taken back
        "gamma=0.95,0.98,0.99,0.995",
        "gae_lambda=0.9,0.95,1.0",  # 1.0 is SB3's: the returns of 8 steps
        "n_steps=5..64:log",  # rollouts that short decide how noisy an update is
        "ent_coef=0.0,0.001,0.01",
    ),
    "trpo": (
        "target_kl=0.003..0.03:log",  # the size of a step, which TRPO has in place of a learning rate
        "gamma=0.98,0.99,0.995",
        "gae_lambda=0.95,0.97,0.99",
        "n_steps=128..1024:log",  # fewer steps a batch: more updates, each from less
    ),
    "sac": (
        "learning_rate=1e-4..2e-3:log",
        "gamma=0.95,0.98,0.99,0.995",
        "tau=0.002..0.05:log",  # how fast the target follows, while the reward itself still moves
        "gradient_steps=1,2",  # updates a step: twice the time, and sometimes worth it
        "batch_size=128,256,512",
    ),
}
"""Searched if nothing is named: few enough for twenty trials; the budget of steps and labels stays as it is."""
ANY = ("learning_rate=1e-4..2e-3:log", "gamma=0.95,0.98,0.99,0.995")
"""Of any other algorithm: all of Stable-Baselines3's kind have these."""


def space(config: RunConfig, words: Sequence[str]) -> tuple[Parameter, ...]:
    """What `words` say, or the default of the algorithm if there are none; ValueError in one line if it cannot be."""
    parameters = tuple(parameter(word) for word in words or DEFAULTS.get(config.algo.lower(), ANY))
    names = [p.name for p in parameters]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]} is named twice: give it one range")
    if "fit" in names and (numbers := [name for name in names if name.startswith("fit.")]):
        raise ValueError(f"fit and {numbers[0]} cannot both vary: name one of them")
    for p in parameters:
        _check(p, config)
    _check_runs(config, parameters)
    return parameters


def varied(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """`config` with `values` of parameters."""
    found: dict[str, dict[str, Any]] = {"": {}, "fit": {}, "hyper": {}}
    for name, value in values.items():
        place, key = _place(name)
        found[place][key] = value
    hyper = config.hyper | found["hyper"]
    fit = _with_numbers(_fit(config), found["fit"]) if found["fit"] else config.fit
    return RunConfig.of(asdict(config) | {"hyper": hyper, "fit": fit} | found[""])


def parameter(word: str) -> Parameter:
    """Of `learning_rate=1e-4..1e-2:log`, `members=1..5` or `gamma=0.98,0.99`; ValueError if it cannot be read."""
    name, sign, text = (part.strip() for part in word.partition("="))
    if not (name and sign and text):
        raise ValueError(f"cannot read {word!r}: {EXAMPLE}, such as learning_rate=1e-4..1e-2:log")
    name = _canonical(name)
    if ".." in text:
        if SETTINGS.get(name) in (str, str | None):
            raise ValueError(f"{name} has no range: list names, as in {name}=A,B")
        return _range(name, text)
    if text.endswith(":log"):
        raise ValueError(f"{word}: only a range has a scale; leave out :log")
    items = [item if SETTINGS.get(name) in (str, str | None) else _plain(name, item) for item in _split(text)]
    return _choices(name, items)


def _choices(name: str, items: list[Plain]) -> Parameter:
    if len(items) == 1:
        raise ValueError(f"{name}={items[0]} leaves nothing to search: {EXAMPLE}")
    if twice := [item for i, item in enumerate(items) if item in items[:i]]:
        raise ValueError(f"{name} lists {twice[0]} twice")
    return Parameter(name, tuple(items))


def _range(name: str, text: str) -> Parameter:
    ends, colon, scale = text.partition(":")
    if colon and scale != "log":
        raise ValueError(f"{name}: no scale {scale!r}: there is log")
    texts = [end.strip() for end in re.split(r"\.\.(?!\.)", ends, maxsplit=1)]
    kind = int if all(re.fullmatch(r"[+-]?\d+", text) for text in texts) else float
    low, high = (_number(name, text, kind) for text in texts)
    if not low < high:
        raise ValueError(f"{name}={ends} is empty: the lower end comes first")
    if scale and low <= 0:
        raise ValueError(f"{name}={text}: a logarithmic range begins above 0")
    return Parameter(name, (), low, high, bool(scale))


def _number(name: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        number = kind(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is no number: {EXAMPLE}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name}: a range must be finite, got {text}")
    return number


def _plain(name: str, text: str) -> Plain:
    """As YAML reads it, and 3e-4, which YAML takes for a word, as a number."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError(f"{name}: cannot read {text!r}: list plain values") from None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return str(value)
    if not isinstance(value, bool | int | float | None) or value != value:
        raise ValueError(f"{name}: cannot search {text!r}: list plain values")
    return value


def _split(text: str) -> Iterator[str]:
    """At commas outside of brackets: `mistaken(synthetic, chance=0.2),synthetic` are two."""
    depth, start = 0, 0
    for i, sign in enumerate(text):
        depth += (sign in "([") - (sign in ")]")
        if sign == "," and depth <= 0:
            yield text[start:i].strip()
            start = i + 1
    yield text[start:].strip()


def _canonical(name: str) -> str:
    """`hyper.` is only kept where it is needed."""
    key = name.removeprefix("hyper.")
    return key if key not in SETTINGS else name


def _place(name: str) -> tuple[str, str]:
    """Where a value goes ("": the run's own settings), and under which key."""
    prefix, _, key = name.rpartition(".")
    return (prefix if prefix or name in SETTINGS else "hyper"), key


def _check(p: Parameter, config: RunConfig) -> None:
    place, key = _place(p.name)
    if place == "":
        if key in FIXED:
            raise ValueError(f"{key} is the same in all trials: set it with --{key}")
    elif place == "fit":
        _check_number(p, key, config)
    elif place != "hyper":
        raise ValueError(f"no settings of {place!r}: a name may begin with fit. or hyper.")


def _check_number(p: Parameter, key: str, config: RunConfig) -> None:
    fit = _fit(config)
    if ":" in fit:
        raise ValueError(f"{p.name} cannot vary in {fit!r}: write its numbers, as in --fit 'fit(passes=5)'")
    numbers = {f.name: type(f.default) for f in fields(find_fit(fit)) if isinstance(f.default, int | float)}
    if key not in numbers:
        raise unknown("number of the fit", key, numbers)
    kinds = {int} if numbers[key] is int else {int, float}
    if not {type(end) for end in p.ends} <= kinds:
        raise ValueError(f"{p.name} takes {'whole numbers' if float not in kinds else 'numbers'}")


def _fit(config: RunConfig) -> str:
    """The fit's name: the configuration's, or the usual one."""
    return config.fit or usual(sees_frames(config.env, **config.env_options)).fit


def _check_runs(config: RunConfig, parameters: Sequence[Parameter]) -> None:
    known: dict[object, EnvFacts] = {}  # to find them out an environment is made, and stepped
    for values in _corners(parameters):
        run = varied(config, values)
        _check_hyper(run)
        asked = run.segment_length, run.allow_variable_horizon
        parts = Parts.of(run, known.get(asked))
        known[asked] = parts.facts
        if parts.people:
            raise ValueError("people cannot answer for every run of a search: choose another oracle")


def _check_hyper(config: RunConfig) -> None:
    arguments = signature(algorithm(config.algo)).parameters
    if any(a.kind is Argument.VAR_KEYWORD for a in arguments.values()):
        return
    known = {name for name in arguments if name != "env" and not name.startswith("_")}
    for name in config.hyper:
        if name not in known:
            raise unknown(f"setting of {config.algo}", name, known)


def _corners(parameters: Sequence[Parameter]) -> Iterator[dict[str, Plain]]:
    """Every end of every parameter once, the others at their first."""
    first = {p.name: p.ends[0] for p in parameters}
    yield first
    for p in parameters:
        yield from (first | {p.name: end} for end in p.ends[1:])


def _with_numbers(fit: str, numbers: Mapping[str, Any]) -> str:
    """`fit(passes=1)` with lr 0.1 is `fit(passes=1, lr=0.1)`."""
    node = ast.parse(fit, mode="eval").body
    name, args, given = (node.func, node.args, node.keywords) if isinstance(node, ast.Call) else (node, [], [])
    named = {word.arg: ast.unparse(word.value) for word in given} | {key: repr(n) for key, n in numbers.items()}
    words = [*map(ast.unparse, args), *(f"{key}={value}" for key, value in named.items())]
    return f"{ast.unparse(name)}({', '.join(words)})"
