"""The command line, run in this process."""

from tsloss_fast import cli


def run(capsys, *args):
    """Exit status, standard output and standard error of one command."""
    try:
        status = cli.main([str(arg) for arg in args])
    except SystemExit as error:
        status = error.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err
