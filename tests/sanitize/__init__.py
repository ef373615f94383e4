"""The engine under GCC's sanitizers: `make sanitize`. See docs/hardening.md."""
