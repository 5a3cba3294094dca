"""Say what you want, and undo it: specd.toml, apply, restore, pause."""
