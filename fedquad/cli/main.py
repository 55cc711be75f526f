"""The command line: parse, call a flow or a wing, print. Everything heavy is imported inside the commands.

Results go to stdout (`--json`: one document), progress and logs to stderr. A FedquadError ends in one line and its exit
code, a usage error in one line and 2, Ctrl-C in 130; anything else is a bug and keeps its traceback.
"""

import sys

import typer

from fedquad import garbage
from fedquad.cli import adapter, campaign, device, doctor, fleet, plan, profile, servers
from fedquad.errors import FedquadError

USAGE_EXIT = 2
INTERRUPT_EXIT = 130

app = typer.Typer(
    name="fedquad",
    help="Federated LoRA fine-tuning on unequal devices: run campaigns, compare methods, look at fleets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(campaign.app, name="campaign")
app.add_typer(adapter.app, name="adapter")
app.add_typer(fleet.app, name="fleet")
app.add_typer(device.app, name="device")
app.command("plan")(plan.plan)
app.command("profile")(profile.profile)
app.command("up")(servers.up)
app.command("down")(servers.down)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    garbage.leave_at_exit()
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        code = app(standalone_mode=False) or 0
    except typer.Abort:
        return _say("stopped", 1)
    except typer.TyperException as error:
        message = error.format_message().rstrip(".")
        return _say(f"fedquad: {message}; see --help", USAGE_EXIT) if message else USAGE_EXIT  # none: help was shown
    except FedquadError as error:
        return _say(f"fedquad: {' '.join(str(error).split())}", error.exit_code)
    if code == INTERRUPT_EXIT:  # Typer has caught the KeyboardInterrupt
        return _say("fedquad: stopped; `fedquad campaign resume NAME` goes on after the last finished round", code)
    return int(code)


def _say(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
