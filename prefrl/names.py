"""From what a user writes on the command line to the Python object it names."""

import ast
import difflib
import importlib
import re
import sys
from collections.abc import Callable, Iterable
from inspect import isclass, isfunction, signature
from pathlib import Path
from types import ModuleType
from typing import Any


class UnknownName(ValueError):
    """A name that nothing has; the message holds the nearest one that something has."""


def unknown(what: str, name: str, known: Iterable[str]) -> UnknownName:
    """`no oracle 'sythetic': did you mean 'synthetic'?`"""
    near = nearest(name, known := sorted(known))
    hint = f"did you mean {near!r}?" if near else f"there are {', '.join(known) or 'none'}"
    return UnknownName(f"no {what} {name!r}: {hint}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """What is written much the same, or begins with these letters word by word; None if nothing does."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return next(iter(near or (each for each in known if _initials(each) == name)), None)


def resolve(text: str, builtin: ModuleType, what: str, *more: ModuleType) -> Any:
    """What `text` names: `mistaken(synthetic, chance=0.2)` in `builtin`, or `my.module:name` of the user's.

    Built-in names are found in any case, with or without underscores. Arguments are literals or further built-in
    names; nothing else is evaluated. A class that is named without arguments is made without any. A name of the
    user's takes none, so that a stranger's config.yaml cannot call what it likes. `more`: have further built-in names.
    """
    if ":" in text:
        found = attribute(text, what)
        return _made(found, [], {}, text, what) if isinstance(found, type) else found
    names = {name: thing for module in (*more, builtin) for name, thing in _components(module).items()}
    return _evaluate(_parse(text, what), names, what)


def check_arguments(make: type, given: Iterable[str]) -> None:
    """Raises UnknownName for the first of the names that `make` has no argument for."""
    takes = signature(make).parameters
    if any(each.kind is each.VAR_KEYWORD for each in takes.values()):
        return
    for name in given:
        if name not in takes:
            raise unknown(f"setting of {_snake(make.__name__)}", name, takes)


def import_module(name: str) -> ModuleType:
    """Imports a module of the user's, from the current folder too; whatever it raises becomes one line."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise UnknownName(f"cannot import {name!r}: {_one_line(error)}") from error


def attribute(text: str, what: str, fits: Callable[[Any], bool] = callable) -> Any:
    """The object that `module:name` names, as it is; where there is none, the nearest of those that fit is told."""
    module, _, name = text.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise UnknownName(f"cannot read {what} {text!r}: write module:name, without arguments")
    found = vars(import_module(module))
    if name not in found:
        own = {n: thing for n, thing in found.items() if n[0] != "_" and not _is_imported(thing, module)}
        raise unknown(what, name, (n for n, thing in own.items() if fits(thing)))
    return found[name]


def _is_imported(thing: Any, module: str) -> bool:
    """Whether it is a function or a class of another package; a package may hand on what its own modules define."""
    return (isfunction(thing) or isclass(thing)) and thing.__module__.split(".")[0] != module.split(".")[0]


def _components(module: ModuleType) -> dict[str, Any]:
    """The public classes that `module` itself defines."""
    found = {name: thing for name, thing in vars(module).items() if isinstance(thing, type) and name[0] != "_"}
    return {name: thing for name, thing in found.items() if thing.__module__ == module.__name__}


def _parse(text: str, what: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:  # NUL, or nested without end
        raise UnknownName(f"cannot read {what} {text!r}: write a name, or a name with arguments") from error


def _evaluate(node: ast.expr, names: dict[str, Any], what: str) -> Any:
    if isinstance(node, ast.Name):
        thing = _find(node.id, names, what)
        return _made(thing, [], {}, node.id, what) if isinstance(thing, type) else thing
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        make = _find(node.func.id, names, what)
        args = [_evaluate(arg, names, what) for arg in node.args]
        kwargs = {str(kw.arg): _evaluate(kw.value, names, what) for kw in node.keywords}
        return _made(make, args, kwargs, ast.unparse(node), what)
    try:
        return ast.literal_eval(node)
    except (TypeError, ValueError) as error:
        raise UnknownName(f"cannot read {ast.unparse(node)!r} in {what}: use names and plain values") from error


def _made(make: type, args: list[Any], kwargs: dict[str, Any], text: str, what: str) -> Any:
    check_arguments(make, kwargs)
    try:
        return make(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise UnknownName(f"{what} {text!r}: {error}") from error


def _find(name: str, names: dict[str, Any], what: str) -> Any:
    plain = {_plain(known): known for known in names}
    if _plain(name) not in plain:
        raise unknown(what, name, (_snake(known) for known in names if not known.startswith("_")))
    return names[name] if name in names else names[plain[_plain(name)]]


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _initials(name: str) -> str:
    """`learning_rate` as `lr`."""
    return "".join(word[0] for word in name.split("_") if word)


def _plain(name: str) -> str:
    return name.replace("_", "").casefold()


def _snake(name: str) -> str:
    """`KWise` as `k_wise`, `SFT` as `sft`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
