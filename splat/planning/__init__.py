"""What a run will take: rows, memory and time, predicted before it begins."""
