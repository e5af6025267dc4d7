"""`python -m visionfm`, which is how torchrun starts a stage on several devices."""

import sys

from visionfm.cli import main

sys.exit(main())
