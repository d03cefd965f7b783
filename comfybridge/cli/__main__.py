"""``python -m comfybridge.cli``: the command where its script is not on the path."""

import sys

from comfybridge.cli.commands import main

sys.exit(main())
