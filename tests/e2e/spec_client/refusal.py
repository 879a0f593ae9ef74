"""What went wrong, by the name the vectors and docs/PROTOCOL.md use."""


class Refused(Exception):
    """Bytes or text from elsewhere that must not be taken; `reason` is its name in the vectors."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Deviation(Exception):
    """Something a server or a vector says that the specification does not allow."""


def require(condition: object, message: str) -> None:
    """Fails with `message` unless `condition` holds; unlike `assert`, in every mode of Python."""
    if not condition:
        raise Deviation(message)


def verdict(check, *arguments):
    """The name of the refusal of a call, or None where it was taken."""
    try:
        check(*arguments)
    except Refused as refused:
        return refused.reason
    return None
