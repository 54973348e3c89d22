"""ALFWorld: household tasks in one room of a house, as text."""
