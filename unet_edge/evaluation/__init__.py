"""How good masks are: compared with the Keras reference, and with true labels."""
