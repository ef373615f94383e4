"""Strategies of damaged files, and of JSON that fits or does not."""

from hypothesis import strategies as st


def attempt(call, *errors):
    """What a call returns, and None; or None, and the text of one of these errors."""
    try:
        return call(), None
    except errors as error:
        return None, str(error)


@st.composite
def damaged(draw, content):
    """The bytes of a good file, a few times cut, overwritten, doubled or filled up."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        size = draw(st.sampled_from([1, 1, 2, 4, 8, 64]))
        kind = draw(st.sampled_from(["cut", "drop", "bits", "bytes", "double", "fill"]))
        if kind == "cut":
            del found[at:]
        elif kind == "drop":
            del found[at : at + size]
        elif kind == "bits" and found:
            found[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "bytes":
            found[at : at + size] = draw(st.binary(min_size=1, max_size=size))
        elif kind == "double":
            found[at:at] = found[at : at + size]
        else:
            found[at : at + size] = draw(st.sampled_from([b"\x00", b"\xff", b"\x7f"])) * size
    return bytes(found)


def anything(*keys):
    """JSON values of any kind, in which these keys and texts are frequent."""
    texts = st.sampled_from((*keys, "a")) | st.text(max_size=6)
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )
