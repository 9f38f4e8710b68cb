"""What of this installation works, found out by trying it."""

from __future__ import annotations

from vim_deploy.doctor.examine import Finding, examine

__all__ = ["Finding", "examine"]
