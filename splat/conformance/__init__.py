"""What every strategy owes, checked on anybody's."""
