from itertools import groupby

from tunesmith.contracts import BadRow, Format
from tunesmith.data.conversation import Conversation, Prompt, Text, Turn


class Transcript(Format):
    """Lines of a transcript as turns; neighbouring lines of one side are one turn."""

    def __init__(self, columns, tags):
        self.column = columns["talk"]
        self.mark = tags["customer"]

    def read(self, row, kind):
        lines = row.get(self.column)
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise BadRow("it is no list of lines", self.column)
        turns = tuple(self.turn(customer, group) for customer, group in groupby(lines, self.by_customer))
        if not turns or turns[0].role != "user":
            raise BadRow("a transcript begins with the customer", self.column)
        if kind == "prompt":
            extras = {key: value for key, value in row.items() if key != self.column}
            return Prompt(Conversation(turns if turns[-1].role == "user" else turns[:-1]), extras)
        if turns[-1].role != "assistant":
            raise BadRow("nobody answered", self.column)
        return Conversation(turns)

    def by_customer(self, line):
        return line.startswith(self.mark)

    def turn(self, customer, lines):
        text = "\n".join(line.removeprefix(self.mark) for line in lines)
        return Turn("user" if customer else "assistant", (Text(text),))
