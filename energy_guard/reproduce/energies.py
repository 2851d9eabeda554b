"""The energies that both experiments on spilled energy compare."""

from __future__ import annotations

from typing import Final

ENERGIES: Final = (
    "spilled_energy",
    "scaled_spilled_energy",
    "marginal_energy",
    "logit_energy",
    "centred_spilled_energy",
    "centred_marginal_energy",
    "centred_logit_energy",
)
"""Raw ones, and those with each row's free constant removed."""
