"""What the command-line tools in tools/ do."""
