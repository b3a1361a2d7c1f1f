"""Check every string of a program file that torch would evaluate, look up or compile.

Reading a ``.pt2`` passes symbolic sizes to ``eval`` (through sympy), guards to ``exec``, names to
generated Python code, tree contexts to ``importlib`` and operator names to ``getattr`` on the whole
of ``torch``. Each string must match the small grammar that exporters write; anything else is
refused before torch reads it.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections.abc import Iterable
from typing import Any

from edgesdk.errors import UnsafeFileError

__all__ = ["check_program_text"]

_MAX_DEPTH = 200
_MAX_TEXT = 20_000
_MAX_EXPRESSION_NODES = 5_000
_MAX_EXPONENT = 64
#: Largest nesting of powers: three with the largest exponent stay below a million digits.
_MAX_POWERS = 3

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: A dotted path of parameters and modules; a ModuleDict allows most characters.
_PATH = re.compile(r"(?!.*(?:^|\.)__)[\w.\-:/ +<>]*")
_PLAIN = re.compile(r"[\w.:\- ]*")
_NUMBER = re.compile(r"-?\d{1,40}(?:\.\d{1,60})?(?:e[+-]?\d{1,3})?", re.IGNORECASE)

_NAMES = frozenset(
    {
        ("CustomObjArgument", "name"),
        ("GraphArgument", "name"),
        ("InputToConstantInputSpec", "name"),
        ("ModuleCallSignature", "forward_arg_names"),
        ("NamedArgument", "name"),
        ("Node", "name"),
        ("SymBoolArgument", "as_name"),
        ("SymFloatArgument", "as_name"),
        ("SymIntArgument", "as_name"),
        ("TensorArgument", "name"),
        ("TokenArgument", "name"),
    }
)
_PATHS = frozenset(
    {
        "buffer_name",
        "custom_obj_name",
        "fqn",
        "parameter_name",
        "tensor_constant_name",
        "user_input_name",
    }
)
#: Strings that torch only stores, compares or prints as Python literals.
_DATA = frozenset(
    {
        ("Argument", "as_string"),
        ("Argument", "as_strings"),
        ("ConstantValue", "as_string"),
        ("ExportedProgram", "torch_version"),
        ("ExportedProgram", "verifiers"),
        ("GraphModule", "metadata"),
        ("GraphModule", "treespec_namedtuple_fields"),
        ("Node", "metadata"),
    }
)

_OVERLOADED = re.compile(r"torch\.ops\.(\w+)\.(\w+)\.([A-Za-z]\w*)")
_HIGHER_ORDER = re.compile(r"torch\.ops\.higher_order\.(\w+)")
_SYMBOLIC = re.compile(r"torch\.(?:sym_[a-z]+|_sym_[a-z]+)")
_MATH = re.compile(r"math\.[a-z][a-z0-9]*")
_ARITHMETIC = re.compile(
    r"_operator\.(?:abs|add|and_|eq|floordiv|ge|getitem|gt|index|inv|invert|le|lshift|lt|mod|mul|ne"
    r"|neg|not_|or_|pos|pow|rshift|sub|truediv|xor)"
)
_DUNDER_OPERATOR = re.compile(r"__i?(?:and|lshift|or|rshift|xor)__")
#: Higher-order operators that only run graphs of the program itself.
_CONTROL_FLOW = re.compile(
    r"associative_scan|auto_functionalized(?:_v2)?|cond|hints_wrapper|invoke_subgraph|map_impl|scan"
    r"|strict_mode|while_loop|wrap|wrap_with_autocast|wrap_with_set_grad_enabled"
)
#: Namespaces whose operators take strings, such as a padding mode, and access no files.
_TEXT_NAMESPACES = frozenset({"aten", "prims", "quantized_decomposed", "torchao"})
_FILE_OPERATORS = frozenset({("aten", "from_file")})

_SYMBOLIC_CALL = re.compile(
    r"Abs|Add|And|CeilDiv|CeilToInt|CleanDiv|Eq|Equality|ExprCondPair|Float|FloatPow|FloatTrueDiv"
    r"|FloorDiv|FloorToInt|Ge|GreaterThan|Gt|Identity|IntTrueDiv|Integer"
    r"|IsNonOverlappingAndDenseIndicator|LShift|Le|LessThan|Lt|Max|Min|Mod|ModularIndexing|Mul|Ne"
    r"|Not|Or|Piecewise|Pow|PowByNatural|PythonMod|RShift|Rational|RoundDecimal|RoundToInt"
    r"|StrictGreaterThan|StrictLessThan|Symbol|ToFloat|TruncToFloat|TruncToInt|Tuple|Unequality"
    r"|Where|ceiling|floor"
)
#: Forms of Max, Min, Abs and ToFloat in guards, which are Python instead of sympy.
_GUARD_CALLS = frozenset({"abs", "float", "max", "min"})
_POWERS = frozenset({"FloatPow", "LShift", "Pow", "PowByNatural"})
_GUARD_METHODS = frozenset({"size", "storage_offset", "stride", "dim", "numel"})
_GUARD_ATTRIBUTES = frozenset({"device", "dtype", "ndim", "requires_grad", "shape"})
_OPERATORS = (
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
    ast.BinOp,
    ast.BoolOp,
    ast.Compare,
    ast.Expression,
    ast.Load,
    ast.Tuple,
    ast.UnaryOp,
    ast.keyword,
)


def _refuse(what: str, text: str) -> UnsafeFileError:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return UnsafeFileError(
        f"the program holds {what} that no exporter writes: {shown!r}",
        remedy="do not open this file; ask for the model's source or a file from who exported it",
    )


def check_program_text(program: Any) -> None:
    """Refuse a program whose strings would run code.

    Args:
        program: A deserialized ``torch._export.serde.schema.ExportedProgram``: the plain data
            classes that torch's loader reads.

    Raises:
        UnsafeFileError: A string has a form that no exporter writes.
    """
    _walk(program, 0)


def _walk(value: Any, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise _refuse("a nesting", f"deeper than {_MAX_DEPTH} levels")
    kind = type(value).__name__
    if kind == "CustomObjArgument":
        raise _refuse("an object of a native class", str(getattr(value, "class_fqn", "")))
    if kind == "Node":
        _check_strings_of(value)
    for field in dataclasses.fields(value):
        # Accessors of a union raise for members that are not set.
        member = object.__getattribute__(value, field.name)
        if member is not None:
            _check_member(kind, field.name, member, depth + 1)


def _check_member(kind: str, name: str, member: Any, depth: int) -> None:
    if (kind, name) in _DATA:
        return
    if isinstance(member, str):
        _check_text(kind, name, member)
    elif isinstance(member, list | tuple):
        for item in member:
            _check_member(kind, name, item, depth + 1)
    elif isinstance(member, dict):
        for key, item in member.items():
            if name != "range_constraints" and not _PATH.fullmatch(str(key)):
                raise _refuse("a name", str(key))
            _check_member(kind, name, item, depth + 1)
    elif dataclasses.is_dataclass(member):
        _walk(member, depth + 1)


def _check_text(kind: str, name: str, text: str) -> None:
    if len(text) > _MAX_TEXT:
        raise _refuse(f"a text of {len(text)} characters", text)
    if (kind, name) in _NAMES:
        if text and not _IDENTIFIER.fullmatch(text):
            raise _refuse("a name", text)
    elif name in _PATHS:
        if not _PATH.fullmatch(text):
            raise _refuse("a path of a parameter", text)
    elif name in ("target", "as_operator"):
        _check_operator(text)
    elif name == "expr_str":
        _check_expression(text)
    elif name == "guards_code":
        _check_guard(text)
    elif name in ("in_spec", "out_spec"):
        _check_tree(text)
    elif not _PLAIN.fullmatch(text):
        raise _refuse("a text", text)


def _check_operator(text: str) -> None:
    if _ARITHMETIC.fullmatch(text) or _SYMBOLIC.fullmatch(text) or _MATH.fullmatch(text):
        return
    higher = _HIGHER_ORDER.fullmatch(text)
    if higher:
        if not _CONTROL_FLOW.fullmatch(higher[1]):
            raise _refuse("an operator", text)
        return
    overloaded = _OVERLOADED.fullmatch(text)
    if not overloaded:
        raise _refuse("an operator", text)
    namespace, name, _ = overloaded.groups()
    unusual = namespace.startswith("_") or (
        name.startswith("__") and not _DUNDER_OPERATOR.fullmatch(name)
    )
    if unusual or (namespace, name) in _FILE_OPERATORS:
        raise _refuse("an operator", text)


def _check_strings_of(node: Any) -> None:
    """Refuse strings for operators of unknown libraries: they could be paths or commands."""
    overloaded = _OVERLOADED.fullmatch(node.target)
    if overloaded is None or overloaded[1] in _TEXT_NAMESPACES:
        return
    for given in node.inputs:
        text = _string_in(given.arg)
        if text is not None:
            raise _refuse(f"a text for the operator {node.target}", text)


def _string_in(argument: Any) -> str | None:
    for name in ("as_string", "as_strings", "as_string_to_argument"):
        member = object.__getattribute__(argument, name)
        if member is not None:
            return str(member)
    return None


def _parsed(what: str, text: str) -> ast.Expression:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refuse(what, text) from error
    if sum(1 for _ in ast.walk(tree)) > _MAX_EXPRESSION_NODES:
        raise _refuse(what, text)
    try:
        deep = _power_depth(tree) > _MAX_POWERS
    except RecursionError:
        deep = True
    if deep:
        raise _refuse(what, text)
    return tree


def _check_expression(text: str) -> None:
    what = "a symbolic size"
    tree = _parsed(what, text)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    quoted: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if not _SYMBOLIC_CALL.fullmatch(name):
                raise _refuse(what, text)
            if name in _POWERS and not _small(node.args[1:]):
                raise _refuse(what, text)
            if name in ("Symbol", "Float") and node.args:
                _check_quoted(name, node.args[0], text)
                quoted.add(id(node.args[0]))
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.LShift):
            if not _small([node.right]):
                raise _refuse(what, text)
        elif isinstance(node, ast.Name):
            if id(node) not in called and node.id.startswith("_"):
                raise _refuse(what, text)
        elif isinstance(node, ast.Constant):
            if id(node) not in quoted and not _plain_number(node.value):
                raise _refuse(what, text)
        elif not isinstance(node, _OPERATORS):
            raise _refuse(what, text)


def _check_quoted(name: str, node: ast.expr, text: str) -> None:
    value = node.value if isinstance(node, ast.Constant) else None
    form = _IDENTIFIER if name == "Symbol" else _NUMBER
    if not isinstance(value, str) or not form.fullmatch(value):
        raise _refuse("a symbolic size", text)


def _plain_number(value: object) -> bool:
    # Exporters write infinity as a name, so constants are finite numbers.
    return isinstance(value, bool | int | float) and abs(value) < 10**40


def _is_power(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _POWERS
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.LShift)


def _small(exponents: Iterable[ast.expr]) -> bool:
    """Return True if exponents are small numbers: a huge power would never end."""
    parts = [node for exponent in exponents for node in ast.walk(exponent)]
    numbers = [node.value for node in parts if isinstance(node, ast.Constant)]
    if not numbers or any(_is_power(node) or isinstance(node, ast.BinOp) for node in parts):
        return False
    return all(
        isinstance(number, int | float) and abs(number) <= _MAX_EXPONENT for number in numbers
    )


def _power_depth(node: ast.AST) -> int:
    inner = max((_power_depth(child) for child in ast.iter_child_nodes(node)), default=0)
    return inner + _is_power(node)


def _check_guard(text: str) -> None:
    what = "a guard"
    for node in ast.walk(_parsed(what, text)):
        if isinstance(node, ast.Attribute):
            method = node.attr in _GUARD_METHODS or node.attr in _GUARD_ATTRIBUTES
            module = node.value.id if isinstance(node.value, ast.Name) else ""
            known = (module == "math" and _MATH.fullmatch(f"math.{node.attr}")) or (
                module == "torch" and _SYMBOLIC.fullmatch(f"torch.{node.attr}")
            )
            if not (known if module in ("math", "torch") else method):
                raise _refuse(what, text)
        elif isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Attribute | ast.Name) or node.keywords:
                raise _refuse(what, text)
            if isinstance(node.func, ast.Name):
                name = node.func.id
                if name not in _GUARD_CALLS and not _SYMBOLIC_CALL.fullmatch(name):
                    raise _refuse(what, text)
        elif isinstance(node, ast.Constant):
            plain = isinstance(node.value, str) and _PLAIN.fullmatch(node.value)
            if not (plain or node.value is None or _plain_number(node.value)):
                raise _refuse(what, text)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.LShift):
            if not _small([node.right]):
                raise _refuse(what, text)
        elif isinstance(node, ast.Name):
            if node.id.startswith("_"):
                raise _refuse(what, text)
        elif not isinstance(node, (*_OPERATORS, ast.Subscript)):
            raise _refuse(what, text)


def _check_tree(text: str) -> None:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refuse("a tree of arguments", text) from error
    if not isinstance(parsed, list) or len(parsed) != 2:
        raise _refuse("a tree of arguments", text)
    _check_tree_node(parsed[1], text, 0)


def _check_tree_node(node: Any, text: str, depth: int) -> None:
    what = "a tree of arguments"
    if depth > _MAX_DEPTH or not isinstance(node, dict):
        raise _refuse(what, text)
    # A defaultdict names a module to import and a function to call.
    if node.get("type") == "collections.defaultdict":
        raise _refuse(what, text)
    _check_tree_context(node.get("context"), text, depth)
    children = node.get("children_spec")
    if not isinstance(children, list):
        raise _refuse(what, text)
    for child in children:
        _check_tree_node(child, text, depth + 1)


def _check_tree_context(context: Any, text: str, depth: int) -> None:
    """Check a list of keys: keys end up in generated code, and enumerations import modules."""
    if depth > _MAX_DEPTH:
        raise _refuse("a tree of arguments", text)
    if isinstance(context, str):
        try:
            decoded = json.loads(context)
        except (ValueError, RecursionError):
            decoded = None
        if isinstance(decoded, list | dict):
            _check_tree_context(decoded, text, depth + 1)
        elif not _PLAIN.fullmatch(str(context if decoded is None else decoded)):
            raise _refuse("a tree of arguments", text)
    elif isinstance(context, list):
        for item in context:
            _check_tree_context(item, text, depth + 1)
    elif isinstance(context, dict):
        raise _refuse("a tree of arguments", text)
