"""Keeps libraries from telling their makers that they are used."""

from __future__ import annotations

import sys
from typing import Any, cast

REPORTERS = ("openvino_telemetry",)
"""Packages through which OpenVINO and NNCF report, to Google Analytics, each time that they are
imported; both do without where these are not installed."""


def silence() -> None:
    """Make REPORTERS look as if they were not installed; to be called before what uses them.

    None in sys.modules is how Python itself is told that a module cannot be imported.
    """
    for name in REPORTERS:
        sys.modules[name] = cast(Any, None)
