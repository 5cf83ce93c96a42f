"""The conversation in a terminal: a line editor with history, answers as they come, and words that start with a slash."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from rich.console import Console
from rich.text import Text as Styled
from tunesmith.data.conversation import Call, Result, Text, Turn
from tunesmith.dialogue import Dialogue
from tunesmith.errors import TunesmithError, nearest
from tunesmith.plan import Plan

from tunesmith_chat.record import save

HELP = {
    "/system TEXT": "Set the system prompt; without TEXT show it, with - remove it.",
    "/clear": "Forget the conversation; the system prompt stays.",
    "/result TEXT": "Answer the model's tool call with TEXT.",
    "/save FILE": "Add the conversation to a JSON Lines file, as training data.",
    "/help": "Show this.",
    "/exit": "Leave. So does Ctrl-D.",
}
KEYS = "Enter sends, Alt-Enter (or Esc, then Enter) starts a new line, Ctrl-C stops an answer."


class Terminal:
    """One conversation with the person at the keyboard."""

    def __init__(self, dialogue: Dialogue, plan: Plan) -> None:
        self.dialogue = dialogue
        self.plan = plan
        self.console = Console(highlight=False)
        self.words = {
            "/system": self.system,
            "/clear": self.clear,
            "/result": self.result,
            "/save": self.save,
            "/help": self.help,
        }

    def run(self) -> None:
        """Talk until the person leaves."""
        self.console.print(Styled(f"{self.title()}. /help lists commands, Ctrl-D leaves.", "dim"))
        session: PromptSession[str] = PromptSession(
            "> ", history=history(), key_bindings=keys(), multiline=True, prompt_continuation="  "
        )
        going = True
        while going:
            # Ctrl-C at the prompt drops the line, and one that comes late drops nothing: it never ends the program.
            with suppress(KeyboardInterrupt):
                going = self.take_next(session)

    def take_next(self, session: PromptSession[str]) -> bool:
        """Read a line and do what it says; false when the person leaves."""
        try:
            line = session.prompt().strip()
        except EOFError:
            return False
        if line in ("/exit", "/quit"):
            return False
        self.take(line)
        return True

    def title(self) -> str:
        """What answers: the model and its adapters."""
        wish = self.plan.models["policy"]
        return " + ".join(map(str, (wish.path, *wish.adapters)))

    def take(self, line: str) -> None:
        """Do what one line says; a mistake is shown, and the conversation goes on as if it had not been made."""
        before = list(self.dialogue.turns)
        try:
            if line.startswith("/") and not line.startswith("//"):
                self.do(line)
            elif line:
                self.say(line.removeprefix("/") if line.startswith("//") else line)
        except TunesmithError as error:
            self.dialogue.turns[:] = before
            self.console.print(Styled(f"{error.message} {error.hint}".rstrip(), "red"))

    def do(self, line: str) -> None:
        """One of the words that start with a slash."""
        word, _, rest = line.partition(" ")
        if word not in self.words:
            raise TunesmithError(f"There is no {word} here.", nearest(word, self.words) or "/help lists what there is.")
        self.words[word](rest.strip())

    def say(self, text: str) -> None:
        """Send a turn and show the answer."""
        self.show(self.dialogue.say(text))

    def show(self, answer: Iterator[str]) -> None:
        """Show the model's next turn while it comes. Ctrl-C stops it; what was said until then is kept."""
        try:
            with closing(answer):  # type: ignore[type-var]
                for text in answer:
                    self.console.out(text, end="", highlight=False)
                    self.console.file.flush()
        except KeyboardInterrupt:
            self.console.print(Styled(" (stopped)", "dim"), end="")
        self.console.print()
        if is_empty(self.dialogue.turns[-1]):
            raise TunesmithError("There was no answer; your turn is forgotten.", "Ask again, or something else.")
        self.show_calls(self.dialogue.turns[-1])

    def show_calls(self, turn: Turn) -> None:
        """Point out what tools a turn asks for."""
        for part in turn.parts:
            if isinstance(part, Call):
                given = ", ".join(f"{name}={value!r}" for name, value in part.arguments.items())
                self.console.print(Styled(f"tool call: {part.name}({given})  answer it with /result", "cyan"))

    def system(self, text: str) -> None:
        """Set, remove or show the system prompt."""
        if text:
            self.dialogue.system = "" if text == "-" else text
        self.console.print(Styled(f"system prompt: {self.dialogue.system or 'none'}", "dim"))

    def clear(self, _: str) -> None:
        """Forget the turns."""
        self.dialogue.clear()
        self.console.print(Styled("The conversation starts anew.", "dim"))

    def result(self, text: str) -> None:
        """Say what a tool answered."""
        calls = [part for part in (self.dialogue.turns or [Turn("user", ())])[-1].parts if isinstance(part, Call)]
        if not calls:
            raise TunesmithError("The model's last turn asks for no tool.", "Just write your next turn.")
        self.dialogue.turns.append(Turn("tool", (Result(text, calls[-1].name, calls[-1].id),)))
        self.show(self.dialogue.answer())

    def save(self, name: str) -> None:
        """Write the conversation."""
        if not name:
            raise TunesmithError("/save needs a file.", "Write /save talk.jsonl")
        try:
            save(self.dialogue.conversation, Path(name))
        except OSError as error:
            raise TunesmithError(f"{name} cannot be written: {error.strerror}.") from error
        self.console.print(Styled(f"Added to {name}.", "dim"))

    def help(self, _: str) -> None:
        """List the words."""
        for word, what in HELP.items():
            self.console.print(Styled.assemble((f"{word:<14}", "bold"), what))
        self.console.print(Styled(KEYS, "dim"))


def is_empty(turn: Turn) -> bool:
    """Whether a turn says nothing at all; no template can render such an answer as history."""
    return not any(part.text if isinstance(part, Text) else True for part in turn.parts)


def keys() -> KeyBindings:
    """Enter sends, although a turn may have several lines."""
    bindings = KeyBindings()

    @bindings.add("enter")
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


def history() -> History:
    """What was typed in earlier conversations; only of this one where the file cannot be written."""
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "tunesmith"
    file = folder / "chat_history"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(file)
