"""What the type checkers must see; these files are checked, and never run."""
