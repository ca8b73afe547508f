"""What the verbs of this method are asked for, which help reads without torch."""
