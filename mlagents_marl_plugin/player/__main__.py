"""``python -m mlagents_marl_plugin.player`` is ``marl-player``."""

import sys

from mlagents_marl_plugin.player.cli import main

sys.exit(main())
