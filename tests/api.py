"""Writes the public API as text: `tests/api.txt` holds it, and `test_names.py` compares.

A module is public if it has `__all__`; a re-export `X as X` is public, too. Classes and functions
are read from the source, not from the running code, so the text is the same under every Python and
with every release of attrs.

Accept a change with `.venv/bin/python -m tests.api`.
"""

import ast
import importlib.util
import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import attrs
import click

import esms_async
from esms_async.cli.app import _group as command_group

ROOT = Path(__file__).parent.parent
SNAPSHOT = Path(__file__).with_name("api.txt")

_PACKAGE = Path(esms_async.__file__).parent
_ATTRS = {"attrs.frozen", "attrs.define"}
_ENUMS = {"enum.Enum", "enum.StrEnum", "enum.IntEnum"}
# These say how a class is printed, copied and made, which a caller does not call.
_UNLISTED = re.compile(r"_[^_].*|__(init|repr|str|reduce|copy|getstate|setstate|attrs_.*)__")
_LONGEST_LINE = 100

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@attrs.frozen(eq=False)
class Definition:
    """Something that a module defines, and the module."""

    module: str
    node: ast.ClassDef | _Function | ast.Assign | ast.AnnAssign


def render() -> str:
    """Return the public API: modules, commands, fixtures, variables, extras."""
    lines = ["# The public API. After a change that is meant: .venv/bin/python -m tests.api"]
    for module, names in public_names().items():
        lines += ["", f"module {module}"]
        for name in names:
            lines += _indented(_rendered(name, definition_of(module, name)))
    lines += ["", "types in annotations", *_indented(_aliases())]
    lines += ["", "pytest fixtures", *_indented(_fixtures())]
    lines += ["", "commands", *_indented(_commands())]
    lines += ["", "exit codes"]
    exit_codes = _attributes(definition_of("esms_async.cli.errors", "ExitCode"))
    lines += _indented([line for _, written in exit_codes for line in written])
    lines += ["", "environment variables", *_indented(sorted(environment_variables()))]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines += ["", "extras", *_indented(sorted(project["optional-dependencies"]))]
    return "\n".join(lines) + "\n"


def environment_variables() -> set[str]:
    """Return the environment variables that the package reads."""
    code = "".join(path.read_text(encoding="utf-8") for path in _PACKAGE.rglob("*.py"))
    return set(re.findall(r'"(ESMS_[A-Z_]+)"', code))


@cache
def public_names() -> dict[str, list[str]]:
    """Return the public names by module."""
    found: dict[str, list[str]] = {}
    for path in sorted(_PACKAGE.rglob("*.py")):
        parts = path.relative_to(_PACKAGE).with_suffix("").parts
        module = ".".join(("esms_async", *(part for part in parts if part != "__init__")))
        names = [name for node in _statements(module) for name in _exported(node)]
        if any(_assigned(node) == "__all__" for node in _statements(module)):
            found[module] = sorted(names)
    return dict(sorted(found.items()))


def public_classes() -> Iterator[tuple[str, Path]]:
    """Yield the classes of the package whose names have no underscore, with their files."""
    for path in sorted(_PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, path.relative_to(_PACKAGE)


def _exported(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [each.name for each in node.names if each.asname == each.name]
    if isinstance(node, ast.Assign) and _assigned(node) == "__all__":
        return list(ast.literal_eval(node.value))
    return []


# Where names are defined.


@cache
def _statements(module: str) -> list[ast.stmt]:
    """Return the statements at the top of a module, and those under `if` and `try` there."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    found: list[ast.stmt] = []
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        found.append(node)
        if isinstance(node, ast.If | ast.Try):
            found += node.body
    return found


def _assigned(node: ast.stmt) -> str | None:
    target: ast.expr | None = None
    if isinstance(node, ast.AnnAssign):
        target = node.target
    elif isinstance(node, ast.Assign):
        target = node.targets[0]
    return target.id if isinstance(target, ast.Name) else None


@cache
def definition_of(module: str, name: str) -> Definition:
    """Return the definition of a name, through the modules that import it."""
    found = _find(module, name)
    assert found is not None, f"{module} does not define {name}"
    return found


@cache
def _find(module: str, name: str) -> Definition | None:
    for node in _statements(module):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("esms_async"):
            for each in node.names:
                if name in {each.asname, each.name}:
                    return _find(str(node.module), each.name)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name == name:
                return Definition(module, node)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and _assigned(node) == name:
            return Definition(module, node)
    return None


def _aliases() -> list[str]:
    """Return the types that annotations name and that no public module exports."""
    found: dict[str, str] = {}
    for module, names in public_names().items():
        for definition in (definition_of(module, name) for name in names):
            for inner in _annotated(definition):
                value = getattr(inner.node, "value", None)
                if value is not None and not _is_public(inner):
                    name = str(_assigned(inner.node))
                    found[name] = _text(value)
    return [f"{name} = {value}" for name, value in sorted(found.items())]


def _annotated(definition: Definition) -> Iterator[Definition]:
    """Yield the definitions of the names in the annotations of a class or function."""
    for node in ast.walk(definition.node):
        for field in ("annotation", "returns"):
            annotation = getattr(node, field, None)
            for each in ast.walk(annotation) if annotation is not None else ():
                if isinstance(each, ast.Name) and not each.id.startswith("_"):
                    inner = _find(definition.module, each.id)
                    if inner is not None:
                        yield inner


# How each kind of name is written.


def _rendered(name: str, definition: Definition) -> list[str]:
    node = definition.node
    match node:
        case ast.ClassDef():
            return _class(name, definition, node)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return _function(node, definition.module)
        case ast.AnnAssign() if _text(node.annotation) != "Final":
            return [f"{name}: {_annotation(node.annotation)}"]
        case _:
            value = node.value
            assert value is not None
            if isinstance(value, ast.Constant):
                return [f"{name}: {type(value.value).__name__}"]
            return [f"{name} = {_text(value)}"]


def _class(name: str, definition: Definition, node: ast.ClassDef) -> list[str]:
    bases = _public_bases(definition)
    lines = [f"class {name}({', '.join(bases)})" if bases else f"class {name}"]
    if arguments := constructor(definition):
        lines += _indented(_call("__init__", arguments))
    members: dict[str, list[str]] = {}
    for each in _lineage(definition):
        for member, written in [*_attributes(each), *_methods(each)]:
            members.setdefault(member, written)
    return [*lines, *_indented([line for written in members.values() for line in written])]


def _lineage(definition: Definition) -> list[Definition]:
    """Return a class, and its bases in the package that have no entry of their own."""
    assert isinstance(definition.node, ast.ClassDef)
    found = [definition]
    for base in definition.node.bases:
        inner = _find(definition.module, _text(base).partition("[")[0])
        if inner is not None and not _is_public(inner):
            found += _lineage(inner)
    return found


def _public_bases(definition: Definition) -> list[str]:
    assert isinstance(definition.node, ast.ClassDef)
    names: list[str] = []
    for base in definition.node.bases:
        inner = _find(definition.module, _text(base).partition("[")[0])
        hidden = inner is not None and not _is_public(inner)
        names += _public_bases(inner) if hidden and inner is not None else [_annotation(base)]
    return names


def _is_public(definition: Definition) -> bool:
    return definition.node in _public_nodes()


@cache
def _public_nodes() -> frozenset[ast.AST]:
    return frozenset(
        definition_of(module, name).node
        for module, names in public_names().items()
        for name in names
    )


def constructor(definition: Definition) -> list[str]:
    """Return the arguments that a class declares: it, or a base without an entry of its own."""
    return next(filter(None, map(_own_constructor, _lineage(definition))), [])


def _own_constructor(definition: Definition) -> list[str]:
    node = definition.node
    assert isinstance(node, ast.ClassDef)
    if _is_enum(node):
        return []
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            return _arguments(each.args, definition.module)[1:]
    decorators = [_text(each) for each in node.decorator_list]
    if not any(each.partition("(")[0] in _ATTRS for each in decorators):
        return []
    all_by_name = any("kw_only=True" in each for each in decorators)
    by_place: list[str] = []
    by_name: list[str] = []
    for field in _fields(definition):
        options = _field_options(field.value, definition.module)
        if options.get("init") == "False":
            continue
        assert isinstance(field.target, ast.Name)
        argument = f"{field.target.id.lstrip('_')}: {_annotation(field.annotation)}"
        default = options.get("default", "…" if "factory" in options else None)
        if default is not None:
            argument += f" = {default}"
        is_by_name = all_by_name or options.get("kw_only") == "True"
        (by_name if is_by_name else by_place).append(argument)
    return [*by_place, *(["*", *by_name] if by_name else [])]


def _fields(definition: Definition) -> list[ast.AnnAssign]:
    """Return the fields of an attrs class, those of its bases first."""
    node = definition.node
    assert isinstance(node, ast.ClassDef)
    bases = [_find(definition.module, _text(base).partition("[")[0]) for base in node.bases]
    inherited = [field for base in bases if base is not None for field in _fields(base)]
    own = [
        each
        for each in node.body
        if isinstance(each, ast.AnnAssign) and "ClassVar" not in _text(each.annotation)
    ]
    return [*inherited, *own]


def _field_options(value: ast.expr | None, module: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, ast.Call):
        return {"default": _default(value, module)}
    match _text(value.func), value.args:
        case "attrs.field", _:
            pass
        case "attrs.Factory", [factory]:
            return {"factory": _text(factory)}
        case "_field", [_, default, *_]:  # the settings of the emulator
            return {"default": _text(default)}
        case "_field", _:
            pass
        case _:
            return {"default": _text(value)}
    return {str(each.arg): _default(each.value, module) for each in value.keywords}


def _attributes(definition: Definition) -> Iterator[tuple[str, list[str]]]:
    """Yield the public attributes: fields, members of an enum, what `__init__` sets."""
    node = definition.node
    assert isinstance(node, ast.ClassDef)
    for each in node.body:
        name = _assigned(each)
        if name is not None and name.startswith("_"):
            continue
        match each:
            case ast.AnnAssign() if name is not None:
                yield name, [f"{name}: {_annotation(each.annotation)}"]
            case ast.Assign() if name is not None:
                yield name, [f"{name} = {_text(each.value)}" if _is_enum(node) else name]
            case ast.FunctionDef(name="__init__"):
                yield from _set_attributes(each)


def _is_enum(node: ast.ClassDef) -> bool:
    return any(_text(base) in _ENUMS for base in node.bases)


def _set_attributes(init: ast.FunctionDef) -> Iterator[tuple[str, list[str]]]:
    arguments = [*init.args.posonlyargs, *init.args.args, *init.args.kwonlyargs]
    types = {each.arg: each.annotation for each in arguments}
    for node in ast.walk(init):
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if not isinstance(target, ast.Attribute) or target.attr.startswith("_"):
            continue
        if not (isinstance(target.value, ast.Name) and target.value.id == "self"):
            continue
        kind = node.annotation if isinstance(node, ast.AnnAssign) else None
        if kind is None and isinstance(node.value, ast.Name):
            kind = types.get(node.value.id)
        written = target.attr if kind is None else f"{target.attr}: {_annotation(kind)}"
        yield target.attr, [written]


def _methods(definition: Definition) -> Iterator[tuple[str, list[str]]]:
    assert isinstance(definition.node, ast.ClassDef)
    for each in definition.node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = [_text(decorator) for decorator in each.decorator_list]
            if _UNLISTED.fullmatch(each.name) or any(".setter" in name for name in decorators):
                continue
            yield each.name, _function(each, definition.module, decorators)


def _function(node: _Function, module: str, decorators: Sequence[str] = ()) -> list[str]:
    name = node.name
    result = "" if node.returns is None else f" -> {_annotation(node.returns)}"
    if {"property", "cached_property"} & set(decorators):
        return [f"property {name}{result.replace(' ->', ':')}"]
    arguments = _arguments(node.args, module)
    if arguments and arguments[0] in {"self", "cls"}:
        arguments = arguments[1:]
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    prefix = "".join(f"{each} " for each in decorators if each in {"classmethod", "staticmethod"})
    return _call(f"{prefix}{kind} {name}", arguments, result)


def _arguments(args: ast.arguments, module: str) -> list[str]:
    placed = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(placed) - len(args.defaults)) + list(args.defaults)
    found = [
        _argument(each, default, module) for each, default in zip(placed, defaults, strict=True)
    ]
    if args.posonlyargs:
        found.insert(len(args.posonlyargs), "/")
    if args.vararg is not None:
        found.append(f"*{_argument(args.vararg, None, module)}")
    elif args.kwonlyargs:
        found.append("*")
    named = zip(args.kwonlyargs, args.kw_defaults, strict=True)
    found += [_argument(each, default, module) for each, default in named]
    if args.kwarg is not None:
        found.append(f"**{_argument(args.kwarg, None, module)}")
    return found


def _argument(node: ast.arg, default: ast.expr | None, module: str) -> str:
    written = node.arg if node.annotation is None else f"{node.arg}: {_annotation(node.annotation)}"
    return written if default is None else f"{written} = {_default(default, module)}"


def _default(node: ast.expr, module: str) -> str:
    """Write a default down: a constant of a module by its value, everything else as it stands."""
    if isinstance(node, ast.Name):
        found = _find(module, node.id)
        value = None if found is None else getattr(found.node, "value", None)
        if isinstance(value, ast.Constant | ast.BinOp | ast.Tuple):
            return _text(value)
    return _text(node)


def _call(name: str, arguments: Sequence[str], result: str = "") -> list[str]:
    line = f"{name}({', '.join(arguments)}){result}"
    if len(line) <= _LONGEST_LINE:
        return [line]
    return [f"{name}(", *(f"  {each}," for each in arguments), f"){result}"]


class _Unquoted(ast.NodeTransformer):
    """Takes the quotes off annotations that are written as text."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        return node if _text(node.value) == "Literal" else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.parse(node.value, mode="eval").body if isinstance(node.value, str) else node


def _annotation(node: ast.expr) -> str:
    return _text(_Unquoted().visit(ast.parse(_text(node), mode="eval").body))


def _text(node: ast.AST) -> str:
    return ast.unparse(node)


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


# Fixtures and commands.


def _fixtures() -> list[str]:
    found: list[str] = []
    for node in _statements("pytest_esms_async"):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            for decorator in map(_text, node.decorator_list):
                if decorator.startswith("pytest.fixture"):
                    assert node.returns is not None
                    scope = decorator.removeprefix("pytest.fixture")
                    found.append(f"{node.name}{scope}: {_annotation(node.returns)}")
    return sorted(found)


def _commands() -> list[str]:
    lines: list[str] = []
    for way, command in command_tree(command_group):
        path = " ".join((str(command_group.name), *way))
        arguments = [each for each in command.params if isinstance(each, click.Argument)]
        lines.append(" ".join((path, *map(_place, arguments))))
        options = [each for each in command.params if isinstance(each, click.Option)]
        lines += sorted(f"  {_option(each)}" for each in options)
    for node in _statements("esms_async.otp.__main__"):
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                words = [each.value for each in call.args if isinstance(each, ast.Constant)]
                if call.func.attr == "add_parser":
                    lines.append(f"python -m esms_async.otp {words[0]!s}")
                elif call.func.attr == "add_argument":
                    lines.append(f"  {words[0]!s}")
    return lines


def command_tree(
    command: click.Command, *words: str
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield a command and those below it, each with the words that lead to it."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from command_tree(inner, *words, name)


def _place(argument: click.Argument) -> str:
    name = str(argument.name).upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _option(option: click.Option) -> str:
    """Write an option down. Releases of click differ in what `default` is where there is none."""
    words = [" / ".join([*option.opts, *option.secondary_opts])]
    kind = option.type
    if not option.is_flag:
        words.append(
            f"{kind.min}..{kind.max}"
            if isinstance(kind, click.IntRange)
            else "|".join(map(str, kind.choices))
            if isinstance(kind, click.Choice)
            else kind.name
        )
        if isinstance(option.default, str | int | float):
            words.append(f"= {option.default}")
    words += ["repeatable"] * option.multiple + ["required"] * option.required
    words += [f"or {option.envvar}"] if option.envvar else []
    return " ".join([*words, *["(hidden)"] * option.hidden])


if __name__ == "__main__":
    SNAPSHOT.write_text(render(), encoding="utf-8")
