"""``python -m tsloss_fast.cli`` is ``tsloss-fast``."""

import sys

from tsloss_fast.cli.command_line import main

sys.exit(main())
