"""How results look. All take the object that `--json` prints, so stored results look alike."""
