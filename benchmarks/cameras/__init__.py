"""USB cameras on Linux's own test driver, vivid, in a virtual machine."""
