"""What stops an execution."""


class Fault(Exception):
    """The program did what a device would not do, or what this interpreter does not know."""
