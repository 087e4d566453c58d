"""Helpers of bench.py and of the gateways' files, under one name (`import benchlib
as B`).  Python 3 standard library only."""

# Modules that the gateways' files reach through this one.
import hashlib      # noqa: F401
import os           # noqa: F401
import re           # noqa: F401
import socket       # noqa: F401
import subprocess   # noqa: F401

from .base import *       # noqa: F401,F403
from .process import *    # noqa: F401,F403
from .fixtures import *   # noqa: F401,F403
from .client import *     # noqa: F401,F403
from .load import *       # noqa: F401,F403
