"""`python -m energy_guard.cli`."""

from energy_guard.cli.app import main

main()
