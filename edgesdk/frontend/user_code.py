"""Import a user's own Python file as if it were run in its folder, whatever its name.

Files of a project import each other as siblings or relatively, with and without ``__init__.py``.
Two projects may use the same names, or names of installed packages or of Python's library; each
gets its own modules.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from edgesdk.errors import EdgeSdkError, FactoryError, SourceNotFoundError
from edgesdk.frontend.provenance import user_frame
from edgesdk.host.own_code import OWN_FOLDERS

__all__ = ["guarded", "import_file", "import_module", "parse"]

#: Prefix of modules whose own name is already taken.
_PREFIX = "edgesdk_source_"
_MAX_LEVELS = 6
_LIBRARIES = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)

# Folders of the projects imported so far, latest first.
_project_folders: list[str] = []


def guarded(call: Callable[[], Any], what: str) -> Any:
    """Call a user's code.

    Raises:
        FactoryError: The code raised or called ``sys.exit``; the error names the user's line.
    """
    try:
        return call()
    except EdgeSdkError:
        raise
    except (Exception, SystemExit) as error:
        remedy = "correct the code; --debug shows the whole traceback"
        if isinstance(error, ModuleNotFoundError) and error.name:
            remedy = f"install {error.name!r} or run from the folder that contains it"
        raise FactoryError(
            f"{what} raised {type(error).__name__}: {error}", where=_place(error), remedy=remedy
        ) from error


def _place(error: BaseException) -> str | None:
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}"
    frame = user_frame("".join(traceback.format_list(traceback.extract_tb(error.__traceback__))))
    return f"{frame}: {frame.code}" if frame else None


def parse(path: Path) -> ast.Module:
    """Parse a Python file.

    Raises:
        FactoryError: The file has a syntax error; the error names the line.
    """
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        reason = error.args[0] if error.args else type(error).__name__
        raise FactoryError(
            f"cannot parse {path}: {reason}",
            where=f"{path}{line}",
            remedy="correct the file",
        ) from error


def import_file(path: Path) -> ModuleType:
    """Import a Python file.

    Args:
        path: The file. It can import its siblings, and parent packages by relative imports.

    Raises:
        FactoryError: The file raised or cannot be parsed.
    """
    path = path.resolve()
    levels = [node.level for node in ast.walk(parse(path)) if isinstance(node, ast.ImportFrom)]
    level = max(levels, default=0)
    while True:
        try:
            return _import_at_level(path, level)
        except FactoryError as error:
            # A sibling it imports may reach further up than the file itself.
            cause = error.__cause__
            beyond = isinstance(cause, ImportError) and "beyond top-level package" in str(cause)
            if not beyond or level >= _MAX_LEVELS:
                raise
            level += 1


def import_module(name: str) -> ModuleType:
    """Import a module by its dotted name, from the working folder or the installed packages.

    Raises:
        SourceNotFoundError: The module does not exist.
        FactoryError: The module raised.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise SourceNotFoundError(
            f"{name!r} is not a module name",
            remedy="write package.module:factory or path/to/file.py:factory",
        )
    try:
        with _importable([str(Path.cwd())]):
            module: ModuleType = guarded(lambda: importlib.import_module(name), name)
            return module
    except FactoryError as error:
        cause = error.__cause__
        absent = cause.name if isinstance(cause, ModuleNotFoundError) and cause.name else ""
        if absent and f"{name}.".startswith(f"{absent}."):
            raise SourceNotFoundError(
                f"no module {name!r}",
                remedy="install it, or run from the folder that contains it",
            ) from error
        raise


def _import_at_level(path: Path, level: int) -> ModuleType:
    packages = _packages_of(path, level)
    root = packages[0].parent if packages else path.parent
    with _importable([str(path.parent), str(root)]) as places:
        own = [] if path.name == "__init__.py" else [path.stem]
        names = [folder.name.replace(".", "_") for folder in packages] + own
        if _is_taken(names[0], places):
            names[0] = _PREFIX + names[0]
        for depth, folder in enumerate(packages, 1):
            _import_package(".".join(names[:depth]), folder)
        name = ".".join(names)
        # A package may have imported the file already.
        loaded = sys.modules.get(name)
        if loaded is not None and _file_of(loaded) == path:
            return loaded
        return _execute(name, path)


def _packages_of(path: Path, level: int) -> list[Path]:
    """Return the package folders above a file, outermost first."""
    packages: list[Path] = []
    folder = path.parent
    # Relative imports also work without __init__.py, if the folders above have names.
    while folder.name and ((folder / "__init__.py").is_file() or len(packages) < level):
        packages.insert(0, folder)
        folder = folder.parent
    return packages


def _import_package(name: str, folder: Path) -> None:
    loaded = sys.modules.get(name)
    if loaded is not None and list(vars(loaded).get("__path__", ())) == [str(folder)]:
        return
    init = folder / "__init__.py"
    if init.is_file():
        _execute(name, init, [str(folder)])
        return
    spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules[name] = importlib.util.module_from_spec(spec)


def _execute(name: str, path: Path, folders: list[str] | None = None) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    if spec is None or spec.loader is None:
        raise SourceNotFoundError(f"{path} is not a Python file", remedy="check the path")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader
    try:
        guarded(lambda: loader.exec_module(module), str(path))
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


@contextlib.contextmanager
def _importable(places: Sequence[str]) -> Iterator[list[str]]:
    """Put folders first on the import path while a project is imported, and last afterwards.

    Last, because an ``onnx.py`` beside the model must not replace a converter's package.
    """
    chosen = list(dict.fromkeys(places))
    _forget_other_projects(chosen)
    importlib.invalidate_caches()
    was = [place for place in sys.path if place not in _project_folders]
    sys.path[:] = [*chosen, *was]
    try:
        yield chosen
    finally:
        added = [place for place in sys.path if place not in chosen and place not in was]
        _project_folders[:] = [*chosen, *(p for p in _project_folders if p not in chosen)]
        sys.path[:] = [*was, *added, *(p for p in _project_folders if p not in was)]


def _forget_other_projects(places: Sequence[str]) -> None:
    """Remove modules of other projects whose names this one uses; their objects stay alive."""
    for name, module in list(sys.modules.items()):
        if "." in name or not isinstance(module, ModuleType):
            continue
        home = _home(module)
        if home is None or str(home) in places:
            continue
        plain = name.removeprefix(_PREFIX)
        ours = (Path(place) / plain for place in places)
        if any(own.is_dir() or own.with_name(f"{plain}.py").is_file() for own in ours):
            for other in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
                del sys.modules[other]


def _home(module: ModuleType) -> Path | None:
    """Return the folder of a user's module; None for all other modules."""
    file = _file_of(module)
    folders = [Path(place) for place in list(vars(module).get("__path__", ()))]
    if module.__name__ == "__main__" or (file is None and len(folders) != 1):
        return None
    place = folders[0] if folders else file
    if place is None or any(place.is_relative_to(folder) for folder in OWN_FOLDERS):
        return None
    if str(place).startswith(_LIBRARIES) or {"site-packages", "dist-packages"} & set(place.parts):
        return None
    return place.parent


def _file_of(module: ModuleType) -> Path | None:
    # Read the dictionary: attribute access on some modules imports others.
    file = vars(module).get("__file__")
    return Path(file).resolve() if isinstance(file, str) else None


def _is_taken(name: str, places: Sequence[str]) -> bool:
    """Return True if Python's library or an installed package has this name."""
    if name in sys.stdlib_module_names or name == "__main__":
        return True
    elsewhere = [place for place in sys.path if str(Path(place).resolve()) not in places]
    spec = importlib.machinery.PathFinder.find_spec(name, elsewhere)
    # A plain folder is a namespace package without a loader; it does not take the name.
    return spec is not None and spec.loader is not None
