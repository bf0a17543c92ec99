"""The command line. A user's mistake is one sentence and exit code 2, never a traceback."""

import sys

import typer

from dilsearch.errors import DilsearchError

__all__ = ["main"]

_MISTAKE, _INTERRUPTED = 2, 130
# typer has its own copy of click from 0.29 on and the real one before; this base class is in both
_UsageError = typer.BadParameter.__mro__[2]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: The words after the program's name; the process's own if None.
    """
    from dilsearch.cli.commands import app

    try:
        code = app(args=arguments, prog_name="dilsearch", standalone_mode=False)
    except DilsearchError as error:
        _stop(str(error), _MISTAKE)
    except (KeyboardInterrupt, typer.Abort) as error:
        _stop(str(error) or "stopped", _INTERRUPTED)
    except Exception as error:
        if not isinstance(error, _UsageError):
            raise  # a fault of dilsearch keeps its traceback
        sentence = error.format_message().rstrip(".")  # type: ignore[attr-defined]
        _stop(f"{sentence}. See 'dilsearch --help'.", _MISTAKE)
    sys.exit(code if isinstance(code, int) else 0)


def _stop(sentence: str, code: int) -> None:
    print(f"dilsearch: {sentence}", file=sys.stderr)
    sys.exit(code)
