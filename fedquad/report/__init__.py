"""What a campaign looks like: figures and tables from facts (matplotlib, imported where a figure is drawn)."""
