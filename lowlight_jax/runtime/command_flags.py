"""Flags of the commands that take `--config`: what is wrong with them in one line."""

import sys
from collections.abc import Sequence

from absl import flags


def parse_flags(argv: Sequence[str]) -> list[str]:
    """For `app.run(main, flags_parser=parse_flags)`: the arguments that are no flags.

    Exits with code 2, saying why, where absl and ml_collections end in a traceback or
    in all their files' names.
    """
    try:
        arguments = flags.FLAGS(argv)
        _ = flags.FLAGS.config.is_locked  # tells only now that its file is not there
        return arguments
    except AttributeError as error:  # of ml_collections, for a key that is not there
        key = str(error).strip("\"'")
        reason = f"the config has no key {key!r}; lowlight_jax/config.py lists all"
    except (flags.Error, ValueError, OSError) as error:
        # A config file's own error comes last, behind where it was looked for.
        reason = str(error).strip().splitlines()[-1].strip()
    print(f"error: {reason} (--helpshort shows the flags)", file=sys.stderr)
    sys.exit(2)
