"""What is concluded: statistics, tables, plots. Never imports torch."""
