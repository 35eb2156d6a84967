"""What only a GPU can show, by one command, for a machine that is to be had for minutes only."""
