"""The command line ``tsloss-fast``."""

from tsloss_fast.cli.command_line import main
from tsloss_fast.cli.info import INFO_PACKAGES
from tsloss_fast.cli.output import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE

__all__ = ["EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_USAGE", "INFO_PACKAGES", "main"]
