"""Programs for the people who work on this project; they are not part of the wheel."""
