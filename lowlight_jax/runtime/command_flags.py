"""Flags of the commands that take `--config`: what is wrong with them in one line."""

import re
import sys
import traceback
from collections.abc import Callable, Sequence

from absl import flags, logging
from ml_collections import ConfigDict

from lowlight_jax.runtime.command import USAGE

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
    if _HELP & set(words):
        print(f"usage: {prog} [flags]\n\n{about}\nflags:\n{_flags_of(define)}")
        sys.exit(0)
    if define_config:
        define_config(words)
    try:
        arguments = flags.FLAGS(words)[1:]
        config = flags.FLAGS.config  # tells only now that its file is not there
        if not isinstance(config, ConfigDict):
            raise ValueError(
                f"get_config() returned {type(config).__name__}; expected a ConfigDict "
                "like base_config()"
            )
        if not arguments:
            if not flags.FLAGS["verbosity"].present:
                logging.set_verbosity(logging.WARNING)  # orbax: 30 lines at each save
            logging.use_absl_handler()
            return
        reason = f"unexpected arguments {arguments}"
    except (flags.Error, ValueError, OSError) as error:
        # A config file's own error comes last, behind where it was looked for.
        reason = str(error).strip().splitlines()[-1].strip()
        if "No such file" in reason:
            reason += "; configs/ is a folder of the source, not of what pip installs"
    except Exception as error:  # a config file is a program: whatever it raises
        reason = _unknown_key(error) or _in_config_file(error)
    print(f"error: {reason} (--help shows the flags)", file=sys.stderr)
    sys.exit(USAGE)


def _unknown_key(error: Exception) -> str:
    """That the config has no such key, where this is what ml_collections says."""
    text = str(error).replace("\\", "")
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
    *_, last = traceback.extract_tb(error.__traceback__)
    file, line = last.filename, last.lineno
    if isinstance(error, SyntaxError):
        file, line = error.filename, error.lineno
    what = str(error).partition("\n")[0]
    return f"{file}, line {line}: {type(error).__name__}: {what}"


def _flags_of(define: Callable) -> str:
    """Absl's description of the flags that `define` defines."""
    module = define.__module__ if define.__module__ != "__main__" else sys.argv[0]
    return flags.FLAGS.module_help(module).strip().partition("\n")[2]
