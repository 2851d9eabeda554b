"""From labelled answers to P(wrong), to thresholds, and to promises about them.

Calibration: score → P(wrong). Profile: a calibration with what it depends on. Fitting and
certifying need the extra `eval`; using a profile does not.
"""

from __future__ import annotations

from energy_guard.calibrate.calibration import Calibration
from energy_guard.calibrate.certificate import Certificate, TestedThreshold, certify, threshold_grid
from energy_guard.calibrate.fitting import fit_calibration
from energy_guard.calibrate.profile import Profile, Training
from energy_guard.calibrate.split import Split, question_key, split_of

__all__ = [
    "Calibration",
    "Certificate",
    "Profile",
    "Split",
    "TestedThreshold",
    "Training",
    "certify",
    "fit_calibration",
    "question_key",
    "split_of",
    "threshold_grid",
]
