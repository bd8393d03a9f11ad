import inspect
import re

from tidewire.core import errors
from tidewire.core.errors import RealtimeError

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, RealtimeError)
]


def test_the_tree_at_the_head_names_every_error_under_its_parent():
    """The drawing is read by its indentation: a child stands four columns right of its parent."""
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^([ │├└─]*)(\w+Error)\b", line)
        if match:
            depth = (len(match[1]) - 4) // 4
            path[depth:] = [match[2]]
            drawn[match[2]] = path[depth - 1] if depth else ""
    actual = {
        cls.__name__: "" if cls is RealtimeError else cls.__mro__[1].__name__ for cls in CLASSES
    }
    assert drawn == actual


def test_every_error_has_a_code_of_its_own():
    codes = [cls.code for cls in CLASSES]
    assert len(codes) == len(set(codes))
