"""Loads a back end by its file name, or a third party's by ``module:attribute`` or entry point."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, cast

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
    given = dict(options or {})
    accepted, anything = options_of(factory)
    unknown = sorted(set(given) - set(accepted))
    if unknown and not anything:
        raise SettingsError(f"{name} has no option {unknown[0]!r}; it has {', '.join(accepted) or 'none'}.")
    try:
        return validate_call(config={"arbitrary_types_allowed": True})(called(factory))(parts, **given)
    except ValidationError as error:
        fault = error.errors()[0]
        raise SettingsError(f"option {fault['loc'][-1]!r} of {name} is no good: {fault['msg']}") from None


def options_of(factory: Any) -> tuple[list[str], bool]:
    """The names of a factory's options, and whether it takes others too."""
    parameters = [p for p in inspect.signature(factory).parameters.values() if p.name != "parts"]
    named = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
    return named, len(named) < len(parameters)


def called(factory: Any) -> Callable[..., Any]:
    """The factory as a function, which is all that ``validate_call`` takes: of a class, its construction."""
    if not inspect.isclass(factory):
        return cast("Callable[..., Any]", factory)

    def construct(*args: Any, **options: Any) -> Any:
        return factory(*args, **options)

    signature = inspect.signature(factory)
    construct.__module__ = factory.__module__  # where its annotations are looked up
    construct.__annotations__ = {
        p.name: p.annotation for p in signature.parameters.values() if p.annotation is not p.empty
    }
    construct.__signature__ = signature  # type: ignore[attr-defined]
    return construct


def find(package: str, name: str) -> Any:
    """The factory behind a back end's name; see ``load``."""
    role = package.rpartition(".")[2]
    if ":" in name:
        module, _, attribute = name.partition(":")
        found = getattr(imported(module, name), attribute, None)
        if found is None:
            raise SettingsError(f"{name} is no good: {module} has no {attribute or 'such name'}.")
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
