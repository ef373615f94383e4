"""canns-lib: Ripser again, in Rust."""

from benchmarks.providers.ripser_py import RipserPy


class Canns(RipserPy):
    """canns_lib.ripser.ripser, which is called as ripser.py is."""

    package = "canns-lib"
    modules = ("canns_lib.ripser",)
    phases = ("h0", "h1")
