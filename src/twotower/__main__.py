"""``python -m twotower``."""

from twotower.cli import main

main()
