"""What is concluded from records. Never imports torch."""
