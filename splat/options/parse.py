"""Arguments into dataclasses: each field is an option, its docstring the help."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from splat.system.numbers import whole

T = TypeVar("T")

_CONFIG = (
    tyro.conf.OmitSubcommandPrefixes,
    tyro.conf.OmitArgPrefixes,
    tyro.conf.CascadeSubcommandArgs,
    tyro.conf.DisallowNone,
)
_REGISTRY = ConstructorRegistry()
WHOLE_HELP = "--help-all"
HELP = frozenset({"-h", "--help", WHOLE_HELP})
"""Options that ask for help: of each option its first sentence, or all that there is to say."""
FIELD_DOCS = "_docs_of_fields"
"""Attribute of a class that was made without source: the docstrings of its own fields, by name."""
_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_SPACE = "\N{NO-BREAK SPACE}"
"""Stands for the space between `splat` and the verb: tyro cuts a program's name at the first space
where it tells which help has an option."""
_FRAME = "│╭╮╰╯─ \t"
_COLOURS = re.compile(r"\x1b\[[\d;]*m")
_OF_VALUES = "Value error"
"""Title of a box about values that were given."""
_PARSING = re.compile(r"Error parsing ([^:]+): ")
"""How its message begins: with an option, or with a name of ours that says nothing to users."""
_UNION = re.compile(r"- <class '\w+'>: ")
_NO_TYPE = re.compile(r"no type matching \{?(.*?)\}? could be instantiated from \[(.*)\]\.")
_NO_FLOAT = re.compile(r"could not convert string to float: (.*)")


class _Docs:
    """How much of docstrings help shows."""

    whole = False


_COMMANDS = ("splat ", "python -m ")
"""What a line begins with that is a command."""


def _unbroken() -> None:
    """Have docstrings of fields shown without the line breaks of the source, and in short of each
    its first sentence.

    tyro 1.0 keeps breaks before lines that are indented, which all but the first are. Where it has
    no such function any more, help is longer than it need be and nothing else is wrong.
    """
    module: Any = getattr(tyro, "_docstrings", None)
    if (read := getattr(module, "parse_docstring_from_object", None)) is not None:

        def joined(of: object) -> dict[str, str]:
            told = vars(of).get(FIELD_DOCS) if isinstance(of, type) else None
            found = read(of) if told is None else told
            paragraphs = {name: text.split("\n\n") for name, text in found.items()}
            docs = {
                name: "\n\n".join(" ".join(part.split()) for part in parts)
                for name, parts in paragraphs.items()
            }
            if _Docs.whole:
                return docs
            return {name: _SENTENCE_ENDS.split(text, 1)[0] for name, text in docs.items()}

        module.parse_docstring_from_object = joined


_unbroken()


@_REGISTRY.primitive_rule
def _whole_numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """200k, 1.5M and 2GB wherever an int is asked for."""
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="N",
        instance_from_str=lambda texts: whole(texts[0]),
        is_instance=lambda value: type(value) is int,
        str_from_instance=lambda value: [str(value)],
    )


def parsed(kind: type[T], verb: str, arguments: Sequence[str], default: T | None = None) -> T:
    """The arguments of a verb; ends the program with an explanation where they do not fit.

    `default` has the values of options that are not given; None: the class's own. Of a value that
    is at fault ValueError is raised, and with `--json` in all cases, as boxes are for people.
    """
    given: dict[str, Any] = {} if default is None else {"default": default}
    words = ["--help" if word == WHOLE_HELP else word for word in arguments]
    _Docs.whole = WHOLE_HELP in arguments
    if "--help" in words and (doc := inspect.getdoc(kind)):
        more = f"{WHOLE_HELP} says all that there is to say of each option."
        given["description"] = commands_apart(doc) + ("" if _Docs.whole else f"\n\n{more}")
    with complaint(values_only="--json" not in arguments):
        value: T = _cli(kind, verb, words, **given)
    return value


def commands_apart(doc: str) -> str:
    """What a verb says of itself, each command that it shows on a line of its own.

    tyro joins lines that begin with a letter, and breaks before all others.
    """
    parts: list[str] = []
    for line in doc.splitlines():
        if shown := line.startswith(_COMMANDS):
            while parts and not parts[-1]:
                parts.pop()
        elif parts and parts[-1].startswith(" ") and line[:1].isalpha():
            parts.append("")
        parts.append(f"    {line}" if shown else line)
    return "\n".join(parts)


def parsed_known(kind: type[T], verb: str, arguments: Sequence[str]) -> T:
    """The options of a dataclass among a verb's arguments; others are ignored."""
    own = [argument for argument in arguments if argument not in HELP]
    value: T = _cli(kind, verb, own, return_unknown_args=True)[0]
    return value


def _cli(kind: type[Any], verb: str, words: Sequence[str], **more: Any) -> Any:
    """What tyro makes of the arguments of a verb."""
    with _spaced():
        return tyro.cli(
            kind,
            prog=f"splat{_SPACE}{verb}",
            args=list(words),
            config=_CONFIG,
            registry=_REGISTRY,
            **more,
        )


class _Spaced:
    """A stream that writes `_SPACE` as a plain space."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(text.replace(_SPACE, " "))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _spaced() -> Iterator[None]:
    out, err = _Spaced(sys.stdout), _Spaced(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


class _Heard(io.StringIO):
    """What would be said on stderr, as it would be said there."""

    def isatty(self) -> bool:
        return self._on_terminal

    def __init__(self) -> None:
        super().__init__()
        self._on_terminal = sys.stderr.isatty()


@contextlib.contextmanager
def complaint(*, values_only: bool = False) -> Iterator[None]:
    """Where `parsed` would end the program for bad arguments: ValueError with its explanation.

    `values_only`: of values that do not fit; what is missing or unknown keeps its box.
    """
    heard = _Heard()
    try:
        with contextlib.redirect_stderr(heard):
            yield
    except SystemExit as end:
        box = _COLOURS.sub("", heard.getvalue()).replace(_SPACE, " ")
        if not end.code or (values_only and not box.strip(_FRAME).startswith(_OF_VALUES)):
            sys.stderr.write(heard.getvalue().replace(_SPACE, " "))
            raise
        raise ValueError(_sentence(box)) from None
    sys.stderr.write(heard.getvalue())


def _sentence(box: str) -> str:
    """The message in a box of tyro, without its frame, title and pointer to the help."""
    lines = [line.strip(_FRAME) for line in box.splitlines()[1:]]
    # Where stdout takes ASCII only, a line of hyphens is under the title and between paragraphs.
    lines = ["" if set(line) == {"-"} else line for line in lines]
    lines = lines[next((i for i, line in enumerate(lines) if line), 0) :]
    ends = [i for i, line in enumerate(lines) if not line]
    message = " ".join(lines[: ends[0]] if ends else lines)
    if found := _PARSING.match(message):
        # Our own messages name the option. Of a union there is a line for each of its types.
        option = f"{found[1]}: " if not found[1].isidentifier() or found[1].isupper() else ""
        more = " ".join(lines[ends[0] + 1 : ends[1]]) if len(ends) > 1 else ""
        reasons = _UNION.split(more)[1:] if "Got errors:" in more else []
        message = option + (" or ".join(map(str.strip, reasons)) or message[found.end() :])
        message = _NO_TYPE.sub(r"\2 does not fit; expected \1", message)
        message = _NO_FLOAT.sub(r"\1 is no number", message)
    hints = [i for i, line in enumerate(lines) if line.startswith("Perhaps you meant")]
    rest = lines[hints[0] :] if hints else []
    meant = [line.split()[0] for line in rest if line.startswith("--")]
    return f"{message}; perhaps you meant {' or '.join(meant)}" if meant else message
