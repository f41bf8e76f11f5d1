"""How the server says no: a status and one plain sentence."""


class Refused(Exception):
    """A request that cannot be served.

    Attributes:
      status: of HTTP, 400 to 499.
      sentence: what is wrong and what to do; it names no path of the server.
      headers: of the answer.
    """

    def __init__(
        self, status: int, sentence: str, headers: dict[str, str] | None = None
    ):
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers
