"""What the process imports of which workers are forks. Work at import is all this module is for; only `_team.py` names it."""

import atexit
import gc

import torch._dynamo  # noqa: F401  which the first optimiser of every worker would import

import selfstudy.study._worker  # noqa: F401

gc.freeze()  # a collection writes to every object it looks at, and thereby copies it
atexit.register(gc.unfreeze)  # at the end they are to be freed, or triton's library prints what it misses
