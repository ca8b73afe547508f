"""What the verbs of garment are asked for."""
