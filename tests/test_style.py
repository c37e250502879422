"""What the house asks of the code: docstrings of public functions say what their parameters are."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "photometry"


def public_functions(path):
    """(name, parameters, docstring) of each public function and method of a module.

    A method without a docstring in a class with a base has that of the base.
    """
    waiting = [("", ast.parse(path.read_text(encoding="utf-8")))]
    while waiting:
        prefix, node = waiting.pop()
        inherits = bool(getattr(node, "bases", ()))
        for child in node.body:
            name = getattr(child, "name", "_")
            if name.startswith("_"):
                continue
            if isinstance(child, ast.ClassDef):
                waiting.append((f"{name}.", child))
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                args = child.args
                names = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
                if prefix and names and names[0] in ("self", "cls"):
                    del names[0]
                docstring = ast.get_docstring(child) or ""
                if docstring or not inherits:
                    yield prefix + name, names, docstring


def without_parameters(room):
    """Functions with three parameters or more whose docstring has no section on them."""
    path = PACKAGE / room
    modules = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [
        f"{module.relative_to(PACKAGE)}: {name}({', '.join(names)})"
        for module in modules
        if module.name == "__init__.py" or not module.name.startswith("_")
        for name, names, docstring in public_functions(module)
        if len(names) >= 3 and "Parameters\n---" not in docstring
    ]


# The verbs of the command line are left out: their options are their documentation.
ROOMS = sorted(
    path.name
    for path in PACKAGE.iterdir()
    if path.name != "cli" and (path.suffix == ".py" or (path / "__init__.py").exists())
)


@pytest.mark.parametrize("room", ROOMS)
def test_functions_of_three_parameters_say_what_these_are(room):
    assert without_parameters(room) == []
