"""Command lines of typed functions, and parse errors as one sentence each."""

import inspect
import re
from argparse import SUPPRESS
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from itertools import zip_longest
from typing import Any, NoReturn, get_args, get_origin

import docstring_parser
from jsonargparse import ArgumentError, ArgumentParser

from mindvis.errors import ConfigError, MindVisError, one_of


def run_function(
    function: Callable[..., Any], args: Sequence[str], prog: str, positional: Sequence[str] = ()
) -> Any:
    """Call a typed function with what the command line says; its docstring is the help.

    Args:
        function: Annotated, with a Google docstring.
        args: Words after the command's name.
        prog: The command's name in the help.
        positional: Parameters that are given by place instead of by name.

    Returns:
        What the function returns.

    Raises:
        ConfigError: The words do not fit the signature.
    """
    parser = function_parser(function, prog, positional)
    try:
        config = parser.parse_args(spell_out_switches(function, args))
        values = parser.instantiate(config).as_dict()
    except ArgumentError as error:
        refuse(str(error), options_of(parser), prog)
    values.pop("config", None)
    return function(**values)


def function_parser(
    function: Callable[..., Any], prog: str, positional: Sequence[str] = ()
) -> ArgumentParser:
    """A parser of a function's parameters: some by place, all others as options."""
    description = inspect.cleandoc(function.__doc__ or "").split("\n\nArgs:")[0]
    parser = ArgumentParser(
        prog=prog, description=description, exit_on_error=False, allow_abbrev=False
    )
    parameters = inspect.signature(function).parameters
    names = list(parameters)
    if "config" not in names:
        parser.add_argument("--config", action="config", help="YAML file with these options")
    common: dict[str, Any] = {"as_group": False, "sub_configs": True}
    single = [p for p in positional if required_word(parameters[p])]
    if single:
        skipped = set(names) - set(single)
        parser.add_function_arguments(function, as_positional=True, skip=skipped, **common)
    for name in positional:
        if name not in single:
            add_words(parser, function, parameters[name])
    parser.add_function_arguments(function, as_positional=False, skip=set(positional), **common)
    return parser


def required_word(parameter: inspect.Parameter) -> bool:
    """Whether a parameter given by place is exactly one word."""
    several = get_origin(parameter.annotation) is list
    return parameter.default is inspect.Parameter.empty and not several


def add_words(
    parser: ArgumentParser, function: Callable[..., Any], parameter: inspect.Parameter
) -> None:
    """A parameter given by place that may be left out, or that takes several words."""
    help_text = " ".join(argument_help(function).get(parameter.name, "").split())
    if get_origin(parameter.annotation) is list:
        (kind,) = get_args(parameter.annotation)
        parser.add_argument(parameter.name, nargs="+", type=kind, help=help_text)
        return
    default = parameter.default
    parser.add_argument(
        parameter.name, nargs="?", type=parameter.annotation, default=default, help=help_text
    )


def argument_help(function: Callable[..., Any]) -> dict[str, str]:
    """What a Google docstring says of each argument."""
    found = docstring_parser.parse(function.__doc__ or "")
    return {entry.arg_name: entry.description or "" for entry in found.params}


def spell_out_switches(function: Callable[..., Any], args: Sequence[str]) -> list[str]:
    """Words in which a boolean option that stands alone, as `--quick`, is given the value true."""
    parameters = inspect.signature(function).parameters.values()
    switches = {f"--{p.name}" for p in parameters if p.annotation is bool}
    words: list[str] = []
    for word, following in zip_longest(args, args[1:]):
        words.append(word)
        if word in switches and (following is None or following.startswith("-")):
            words.append("true")
    return words


def own_error(error: BaseException) -> MindVisError | None:
    """The package's own exception in the chain of an exception that a library made of it."""
    link: BaseException | None = error
    while link is not None and not isinstance(link, MindVisError):
        link = link.__cause__ or link.__context__
    return link


def options_of(parser: ArgumentParser) -> list[str]:
    """Names of a parser's options, without dashes."""
    actions = [a for a in parser._actions if a.help != SUPPRESS]
    return [option[2:] for a in actions for option in a.option_strings if option[:2] == "--"]


def refuse(message: str, options: Iterable[str], prog: str) -> NoReturn:
    """Raise the one sentence that a parser's message comes down to.

    Args:
        message: Of jsonargparse, possibly over many lines.
        options: Names that would have been accepted.
        prog: The command, for the pointer to its help.

    Raises:
        ConfigError: Always.
    """
    known = list(options)
    help_hint = f"see `{prog} --help`"
    for explain in (_unknown, _missing, _no_file, _no_class, _wrong_value):
        clauses = explain(message, known)
        if clauses is not None:
            found, expected = clauses
            raise ConfigError(found, expected, help_hint)
    raise ConfigError(" ".join(message.split()), remedy=help_hint)


Clauses = tuple[str, str] | None


def _unknown(message: str, known: list[str]) -> Clauses:
    """An option that nothing takes, in a class or at the top."""
    owner = re.findall(r"Problem with given class_path '([\w.]+)'", message)
    inner = re.findall(r"Option '([^']+)' is not accepted", message)
    if owner and inner:
        choices = _parameters(owner[-1])
        return f"{owner[-1].rsplit('.', 1)[-1]} has no option {inner[-1]!r}", _near(
            inner[-1], choices
        )
    top = re.search(r"does not accept option '([^']+)'|unrecognized arguments: (.+)", message)
    if top is None:
        top = re.search(r"Option '([^']+)' is not accepted()", message)
    if top is None:
        return None
    name = (top[1] or top[2].split()[0]).split("=")[0]
    kind = "option" if top[1] or name.startswith("-") else "place for the word"
    return f"there is no {kind} {name!r}", _near(name.lstrip("-"), known)


def _near(name: str, known: Iterable[str]) -> str:
    """The known option that is most like `name`; all of them where they are few."""
    choices = sorted(set(known) - {"help"})
    tops = sorted({choice.split(".")[0] for choice in choices})
    near = get_close_matches(name, [*choices, *tops], n=1, cutoff=0.6)
    if near:
        return f"an option such as {near[0]!r}"
    return f"one of {', '.join(choices)}" if len(choices) <= 30 else ""


def _parameters(class_path: str) -> list[str]:
    """Parameters of a class that was named in a configuration."""
    module, name = class_path.rsplit(".", 1)
    return list(inspect.signature(getattr(import_module(module), name)).parameters)


def _missing(message: str, known: list[str]) -> Clauses:
    """A required option that was not given."""
    match = re.search(r"arguments are required: (.+)|Key '?\"?([\w.]+)'?\"? is required", message)
    if match is None:
        return None
    names = [name.removeprefix("fit.") for name in (match[1] or match[2]).split(", ")]
    options = [f"--{name}" if name in known else name.upper() for name in names]
    return f"{' and '.join(options)} must be given", ""


def _no_file(message: str, known: list[str]) -> Clauses:
    """A configuration file that is not there, or is not YAML."""
    match = re.search(r"File does not exist: '([^']+)'", message)
    if match is not None:
        return f"there is no configuration file {match[1]}", ""
    match = re.search(r"Problems parsing config: (.+)", message, re.DOTALL)
    if match is not None:
        return f"the configuration is not YAML ({' '.join(match[1].split())})", ""
    return None


def _no_class(message: str, known: list[str]) -> Clauses:
    """A class name that is not one of those that can be chosen."""
    key = re.search(r'Parser key "([\w.]+)"', message)
    name = re.search(r"Expected a dot import path string: (\S+)", message)
    base = re.search(r"Subtypes: \[<class '([\w.]+)'>", message)
    if key is None or name is None or base is None:
        return None
    module, base_name = base[1].rsplit(".", 1)
    choices = _subclasses(getattr(import_module(module), base_name))
    return f"{key[1]} is {name[1]!r}", one_of(key[1], name[1], choices).split(" to be ", 1)[1]


def _subclasses(base: type[Any]) -> list[str]:
    """Names of all loaded classes below `base` that are mindvis' own and can be built."""
    found: list[str] = []
    for cls in base.__subclasses__():
        found += _subclasses(cls)
        if cls.__module__.startswith("mindvis.") and not cls.__subclasses__():
            found.append(cls.__name__)
    return found


def _wrong_value(message: str, known: list[str]) -> Clauses:
    """A value of another type, or none of the choices."""
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    value = re.search(r"Got value: (.+)|Given value: (.+)", message)
    wanted = [
        _type(text) for text in re.findall(r"Expected an? (.+?)(?:\. Got value|\n|$)", message)
    ]
    wanted = [text for text in dict.fromkeys(wanted) if text != "NoneType"]
    if not keys or value is None or not wanted:
        return None
    text = value[1] or value[2]
    if "list" in wanted:
        wanted = [f"a list, such as '[{text}]'"]
    return f"{'.'.join(dict.fromkeys(keys))} is {text!r}", " or ".join(wanted)


def _type(text: str) -> str:
    """A type as a reader would say it."""
    literal = re.fullmatch(r"typing\.Literal\[(.+)\]", text)
    if literal is not None:
        return f"one of {literal[1]}"
    plain = re.fullmatch(r"<class '(?:\w+\.)*(\w+)'>", text)
    return plain[1] if plain is not None else text
