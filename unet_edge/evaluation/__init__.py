"""What masks are worth: against the Keras reference, and against true labels."""
