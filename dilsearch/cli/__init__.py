"""The command line. A user's mistake is one sentence and exit code 2, never a traceback."""

import sys

import typer

from dilsearch.errors import DilsearchError, Interrupted

__all__ = ["main"]

_MISTAKE, _INTERRUPTED = 2, 130
# Newer typers carry click inside themselves, older ones import the real one: the base class of
# usage errors is found by name.
_ClickException = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


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
    except Interrupted as error:
        _stop(str(error), _INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        _stop("stopped", _INTERRUPTED)
    except Exception as error:
        if not isinstance(error, _ClickException):
            raise  # a fault of dilsearch keeps its traceback
        _stop(_usage_sentence(error), _MISTAKE)
    sys.exit(code if isinstance(code, int) else 0)


def _usage_sentence(error: Exception) -> str:
    message: str = error.format_message()  # type: ignore[attr-defined]
    if type(error).__name__ == "NoArgsIsHelpError":
        return f"no command was given.\n{message}"
    return f"{message.rstrip('.')}. See 'dilsearch --help'."


def _stop(sentence: str, code: int) -> None:
    print(f"dilsearch: {sentence}", file=sys.stderr)
    sys.exit(code)
