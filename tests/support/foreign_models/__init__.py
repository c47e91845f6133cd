"""Networks that other people train with Keras, tiny or at full width, for the tests of importing.

Each is a new implementation of its published architecture: the layers, their order, padding,
names and activations, which is what an import meets. `libraries.py` builds the same ones with the
libraries' own code, where that is installed.
"""
