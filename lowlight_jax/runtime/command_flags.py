"""Flags of the commands that take `--config`: what is wrong with them in one line."""

import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags, logging
from ml_collections import ConfigDict

from lowlight_jax.runtime.command import DEBUG_HELP, USAGE
from lowlight_jax.runtime.errors import show_tracebacks, trace
from lowlight_jax.runtime.outputs import user_path

_LEAST_WIDTH = 40
_HELP = {"-h", "-help", "--help", "--helpshort", "--helpfull"}


def parse_flags(
    define: Callable[[list[str]], None],
    argv: Sequence[str] | None,
    *,
    prog: str,
    about: str,
    define_config: Callable[[list[str]], None] | None = None,
) -> None:
    """Defines the flags of a command and parses them into `flags.FLAGS`.

    Exits with 0 after --help. Exits with 2 and one line for a wrong flag, where absl
    and ml_collections would print a traceback.

    Args:
      define: calls `flags.DEFINE_...`; it is given all words of the command line, as
        `sys_argv` of `config_flags`.
      argv: without the program's name; None: the process's.
      prog: what the command is called as.
      about: shown by --help.
      define_config: defines --config where that takes long, and --help does without.
    """
    words = [prog, *(sys.argv[1:] if argv is None else argv)]
    define(words)
    flags.DEFINE_bool("debug", False, DEBUG_HELP)
    show_tracebacks("--debug" in words)  # the config file itself may fail
    if _HELP & set(words):
        if flags.get_help_width() < _LEAST_WIDTH:  # absl would fail
            os.environ["COLUMNS"] = str(_LEAST_WIDTH)
        print(f"usage: {prog} [flags]\n\n{about}\nflags:\n{_flags_of(define)}")
        sys.exit(0)
    if define_config:
        define_config(words)
    try:
        arguments = flags.FLAGS(words)[1:]
        config = flags.FLAGS.config
        getattr(config, "is_locked", False)  # tells only now that its file is not there
        if not isinstance(config, ConfigDict):
            raise ValueError(
                f"get_config() returned {type(config).__name__}; expected a ConfigDict "
                "like base_config()"
            )
        if not arguments:
            if not flags.FLAGS["verbosity"].present:
                # Orbax: 30 lines at each save, and tracebacks of errors that we tell.
                debugged = flags.FLAGS.debug
                logging.set_verbosity(logging.INFO if debugged else logging.FATAL)
            logging.use_absl_handler()
            return
        reason = f"unexpected arguments {arguments}"
    except (flags.Error, ValueError, OSError) as error:
        trace(error)
        # A config file's own error comes last, behind where it was looked for.
        reason = str(error).strip().splitlines()[-1].strip()
        if "No such file" in reason:
            reason += "; configs/ is a folder of the source, not of what pip installs"
    except Exception as error:  # a config file is a program: whatever it raises
        trace(error)
        reason = _unknown_key(error) or _in_config_file(error)
    print(f"error: {reason} (--help shows the flags)", file=sys.stderr)
    sys.exit(USAGE)


def _unknown_key(error: Exception) -> str:
    """That the config has no such key, where this is what ml_collections says."""
    text = str(error).replace("\\", "")
    if "has no attribute 'get_config'" in text:
        return "the config file has no function get_config(); see configs/"
    key = re.search(r"lookup: (\S+?)\W*$", text) or re.match(
        r"\W*(?:Key )?\W*(\w+)", text
    )
    is_of_config = "ml_collections" in traceback.extract_tb(error.__traceback__)[-1][0]
    if not (key and is_of_config and isinstance(error, AttributeError | KeyError)):
        return ""
    meant = re.search(r'Did you mean "(\w+)"', text)
    return (
        f"the config has no key {key[1]!r}; "
        + (f"did you mean {meant[1]!r}? " if meant else "")
        + "lowlight_jax/config.py lists all"
    )


def _in_config_file(error: Exception) -> str:
    """What a config file raised, and where."""
    if isinstance(error, SyntaxError):
        if error.filename:
            return f"{error.filename}, line {error.lineno}: {error.msg}"
        return f"the config is no Python: {error.msg}"
    *_, last = traceback.extract_tb(error.__traceback__)
    what = str(error).partition("\n")[0]
    return f"{last.filename}, line {last.lineno}: {type(error).__name__}: {what}"


def searched_folders(data: ConfigDict) -> list[Path]:
    """Folders that are searched for images, with their subfolders."""
    found = [data.photographs, data.brackets]
    if data.root:
        parts = ("low", "high", "our485", "eval15")
        found += [f"{data.root}/{part}" for part in parts]
    return [user_path(folder) for folder in found if folder]


def _flags_of(define: Callable) -> str:
    """Absl's description of the flags that `define` defines."""
    module = define.__module__ if define.__module__ != "__main__" else sys.argv[0]
    own, shared = (flags.FLAGS.module_help(name) for name in (module, __name__))
    return "\n".join(text.strip().partition("\n")[2] for text in (own, shared))
