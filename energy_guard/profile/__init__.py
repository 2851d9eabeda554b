"""What a guard reads: P(wrong) of a score, what that depends on, and what is promised.

`energy_guard.calibrate` makes profiles; using one needs nothing of it.
"""

from __future__ import annotations

from energy_guard.profile.calibration import Calibration
from energy_guard.profile.certificate import Certificate, TestedThreshold
from energy_guard.profile.profile import Profile, ProfileTraining, Traffic

__all__ = ["Calibration", "Certificate", "Profile", "ProfileTraining", "TestedThreshold", "Traffic"]
