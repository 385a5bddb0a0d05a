"""Loads a back end by its file name, or a third party's by ``module:attribute`` or entry point."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError, validate_call

from ragline.settings import SettingsError


def names(package: str) -> list[str]:
    """The back ends shipped in ``package``: its modules, less those that begin with an underscore."""
    folder = importlib.import_module(package)
    return sorted(m.name for m in pkgutil.iter_modules(folder.__path__) if not m.name.startswith("_"))


def load(package: str, name: str, parts: Any, options: Mapping[str, Any] | None = None) -> Any:
    """Build the back end ``name`` of the role folder ``package``.

    A shipped back end is a module with ``load(parts, **options)``; its typed keyword parameters are its
    options. A third party's ``module:attribute``, or the name of an entry point in the group
    ``ragline.<role folder>``, is called the same way. Raises SettingsError for an unknown name, a missing
    dependency or a bad option. Only the chosen module is imported.
    """
    factory = find(package, name)
    given, parameters = dict(options or {}), options_of(factory)
    accepted = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
    unknown = sorted(set(given) - set(accepted))
    if unknown and len(accepted) == len(parameters):
        raise SettingsError(f"{name} has no option {unknown[0]!r}; it has {', '.join(accepted) or 'none'}.")
    try:
        valid = validator(factory, parameters)(**given)
    except ValidationError as error:
        fault = error.errors()[0]
        raise SettingsError(f"option {fault['loc'][-1]!r} of {name} is no good: {fault['msg']}") from None
    return factory(parts, **valid)


def options_of(factory: Any) -> list[inspect.Parameter]:
    """A factory's options: all its parameters but the first, which takes the parts."""
    return list(inspect.signature(factory).parameters.values())[1:]


def validator(factory: Any, parameters: Sequence[inspect.Parameter]) -> Callable[..., dict[str, Any]]:
    """A function that takes the options by name and returns them as the types that the factory states.

    The factory itself is not handed to ``validate_call``: it may be a class, which that refuses, and the
    parts may be of types that cannot be checked.
    """

    def collect(**options: Any) -> dict[str, Any]:
        return options

    keywords = [
        p if p.kind is inspect.Parameter.VAR_KEYWORD else p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for p in parameters
    ]
    collect.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    collect.__annotations__ = {p.name: p.annotation for p in parameters if p.annotation is not p.empty}
    collect.__module__ = factory.__module__  # where the names in annotations are looked up
    return validate_call(config={"arbitrary_types_allowed": True})(collect)


def find(package: str, name: str) -> Any:
    """The factory behind a back end's name; see ``load``."""
    role = package.rpartition(".")[2]
    if ":" in name:
        module, _, attribute = name.partition(":")
        found = getattr(imported(module, name), attribute, None)
        if not callable(found):
            raise SettingsError(f"{name} is no good: {module} has no {attribute} that can be called.")
        return found
    shipped = names(package)
    if name in shipped:
        return imported(f"{package}.{name}", name).load
    for point in entry_points(group=f"ragline.{role}", name=name):
        return point.load()
    raise SettingsError(f"{name!r} is none of the {role}: {', '.join(shipped)}, or a module:Class of your own.")


def imported(module: str, name: str) -> Any:
    """The module, or a SettingsError that names what is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise SettingsError(f"{name} needs {error.name}, which is not installed here.") from error
