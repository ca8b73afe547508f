"""What a method is made of: rows with their moments, edits, models, strategies, losses."""
