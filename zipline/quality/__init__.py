"""What is known of an output's quality: checks before it is published."""
