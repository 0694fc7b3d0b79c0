"""What surrounds a row between the gate and the function that serves it."""
