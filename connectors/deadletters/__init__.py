"""Work with the dead letters: list and show them, publish them again, purge them."""
