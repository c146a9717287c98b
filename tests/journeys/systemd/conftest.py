"""The lab of the journey, and its operator."""

from __future__ import annotations

from tests.vms.conftest import environments, lab, operator

__all__ = ["environments", "lab", "operator"]
