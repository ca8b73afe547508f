"""What sounds are like in a scene."""
