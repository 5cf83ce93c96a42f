"""The conversation in a terminal: a line editor with history, answers as they come, and words that start with a slash."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from rich.console import Console
from rich.text import Text as Styled
from tunesmith.data.conversation import Call, Conversation, Media, Result, Text, Thought, Turn
from tunesmith.dialogue import Dialogue
from tunesmith.errors import TunesmithError, nearest
from tunesmith.plan import Plan

from tunesmith_chat.files import check_seen, file_text, inside, load, read_image
from tunesmith_chat.painter import Painter, thought_of, words_of
from tunesmith_chat.record import save

HELP = {
    "/system TEXT": "Set the system prompt; without TEXT show it, with - remove it.",
    "/clear": "Forget the conversation; the system prompt stays.",
    "/file PATH": "Put a text file of this folder before your next turn.",
    "/image PATH": "Show the model an image of this folder with your next turn.",
    "/tools": "Show the tools that the model may call.",
    "/result TEXT": "Answer the model's tool call with TEXT.",
    "/effort WORD": "How much answers think first: low, medium or high; - is as the run says.",
    "/thoughts": "Show what the model thought; with on or off: always, never.",
    "/markdown": "With on or off: render answers, or show them as they are.",
    "/save FILE": "Add the conversation to a JSON Lines file, as training data.",
    "/load FILE": "Go on with the last conversation in such a file.",
    "/help": "Show this.",
    "/exit": "Leave. So does Ctrl-D.",
}
KEYS = "Enter sends, Alt-Enter (or Esc, then Enter) starts a new line, Ctrl-C stops an answer."


class Terminal:
    """One conversation with the person at the keyboard."""

    def __init__(self, dialogue: Dialogue, plan: Plan, images: Sequence[Media] = ()) -> None:
        """``images`` are shown with the first turn."""
        self.dialogue = dialogue
        self.plan = plan
        self.console = Console(highlight=False)
        self.painter = Painter(self.console, lambda text: dialogue.engine.renderer.parse_reply(text, dialogue.tools))
        self.files: list[str] = []
        self.images = list(images)
        self.words = {
            "/system": self.system,
            "/clear": self.clear,
            "/file": self.file,
            "/image": self.image,
            "/tools": self.tools,
            "/result": self.result,
            "/effort": self.effort,
            "/thoughts": self.thoughts,
            "/markdown": self.markdown,
            "/save": self.save,
            "/load": self.load,
            "/help": self.help,
        }

    def run(self) -> None:
        """Talk until the person leaves."""
        self.say_dimly(f"{self.title()}. /help lists commands, Ctrl-D leaves.")
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
        """Send a turn, behind the files and images that were put before it, and show the answer."""
        self.show(self.dialogue.say("\n\n".join([*self.files, text]), self.images))
        self.drop()

    def drop(self) -> None:
        """Put nothing before the next turn."""
        self.files.clear()
        self.images.clear()

    def show(self, answer: Iterator[str]) -> None:
        """Show the model's next turn while it comes. Ctrl-C stops it; what was said until then is kept."""
        try:
            with closing(answer):  # type: ignore[type-var]
                self.painter.paint(answer)
        except KeyboardInterrupt:
            self.say_dimly("(stopped)")
        if is_empty(self.dialogue.turns[-1]):
            raise TunesmithError("There was no answer; your turn is forgotten.", "Ask again, or something else.")
        if self.dialogue.finish == "length":
            self.say_dimly("(cut off: max_new_tokens, or the end of what the model can see)")
        self.show_calls()

    def say_dimly(self, text: str) -> None:
        """A word of ours, not of the model's."""
        self.console.print(Styled(text, "dim"))

    def show_calls(self) -> None:
        """Point out what tools the model waits for."""
        for part in waiting(self.dialogue.turns):
            given = ", ".join(f"{name}={value!r}" for name, value in part.arguments.items())
            self.console.print(Styled(f"tool call: {part.name}({given})  answer it with /result", "cyan"))

    def system(self, text: str) -> None:
        """Set, remove or show the system prompt."""
        if text:
            self.dialogue.system = "" if text == "-" else text
        self.say_dimly(f"system prompt: {self.dialogue.system or 'none'}")

    def clear(self, _: str) -> None:
        """Forget the turns."""
        self.dialogue.clear()
        self.drop()
        self.say_dimly("The conversation starts anew.")

    def file(self, name: str) -> None:
        """Keep a file for the next turn."""
        if not name:
            raise TunesmithError("/file needs a file.", "Write /file notes.txt")
        self.files.append(file_text(name, Path.cwd()))
        self.say_dimly(f"{name} goes before your next turn ({len(self.files[-1].splitlines()) - 3} lines).")

    def image(self, name: str) -> None:
        """Keep an image for the next turn."""
        if not name:
            raise TunesmithError("/image needs a file.", "Write /image photo.png")
        image = read_image(inside(name, Path.cwd()))
        check_seen(self.dialogue.engine.renderer, image)
        self.images.append(image)
        self.say_dimly(f"{name} is shown with your next turn.")

    def tools(self, _: str) -> None:
        """List the tools."""
        for tool in self.dialogue.tools:
            function = tool["function"]
            self.say_dimly(f"{function['name']}({', '.join(parameters_of(function))})  {function.get('description', '')}")
        if not self.dialogue.tools:
            self.say_dimly("none; give them with --tools FILE")

    def effort(self, word: str) -> None:
        """Set or show how much answers think first."""
        if word:
            wanted = None if word == "-" else word
            asked = Conversation((Turn("user", (Text("?"),)),), effort=wanted)
            self.dialogue.engine.renderer.render(asked, generation_prompt=True)  # refuses what the template cannot say
            self.dialogue.effort = wanted
        self.say_dimly(f"reasoning effort: {self.dialogue.effort or 'as the run says'}")

    def thoughts(self, word: str) -> None:
        """Show the last thought, or set whether thoughts are shown."""
        if word:
            self.painter.unfolded = is_on("/thoughts", word)
            return
        last = next((turn for turn in reversed(self.dialogue.turns) if turn.role == "assistant"), Turn("assistant", ()))
        if not any(isinstance(part, Thought) for part in last.parts):
            raise TunesmithError("The model's last turn holds no thought.", "Not every model thinks.")
        self.painter.show_thought(thought_of(last))

    def markdown(self, word: str) -> None:
        """Set whether answers are rendered."""
        self.painter.markdown = is_on("/markdown", word)

    def result(self, text: str) -> None:
        """Say what a tool answered; the model goes on once all of its calls are answered."""
        calls = waiting(self.dialogue.turns)
        if not calls:
            raise TunesmithError("The model's last turn asks for no tool.", "Just write your next turn.")
        self.dialogue.turns.append(Turn("tool", (Result(text, calls[0].name, calls[0].id),)))
        if len(calls) > 1:
            self.show_calls()
        else:
            self.show(self.dialogue.answer())

    def save(self, name: str) -> None:
        """Write the conversation."""
        if not name:
            raise TunesmithError("/save needs a file.", "Write /save talk.jsonl")
        try:
            save(self.dialogue.conversation, Path(name))
        except OSError as error:
            raise TunesmithError(f"{name} cannot be written: {error.strerror}.") from error
        self.say_dimly(f"Added to {name}.")

    def load(self, name: str) -> None:
        """Go on with a conversation that was saved."""
        if not name:
            raise TunesmithError("/load needs a file.", "Write /load talk.jsonl")
        read = load(name)
        first = read.turns[0] if read.turns and read.turns[0].role == "system" else None
        self.dialogue.system = first.text if first else ""
        self.dialogue.turns[:] = read.turns[1:] if first else read.turns
        self.dialogue.tools = read.tools
        self.drop()
        for turn in self.dialogue.turns[-2:]:
            self.say_dimly(f"{turn.role}:")
            self.painter.show(words_of(turn))
        self.say_dimly(f"Read {len(self.dialogue.turns)} turns from {name}.")
        self.show_calls()

    def help(self, _: str) -> None:
        """List the words."""
        for word, what in HELP.items():
            self.console.print(Styled.assemble((f"{word:<14}", "bold"), what))
        self.say_dimly(KEYS)


def is_empty(turn: Turn) -> bool:
    """Whether a turn says nothing at all; no template can render such an answer as history."""
    return not any(part.text if isinstance(part, Text) else True for part in turn.parts)


def waiting(turns: Sequence[Turn]) -> list[Call]:
    """The calls of the model's last turn that no result has answered yet."""
    results = 0
    for turn in reversed(turns):
        if turn.role != "tool":
            return [part for part in turn.parts if isinstance(part, Call)][results:]
        results += sum(isinstance(part, Result) for part in turn.parts)
    return []


def parameters_of(function: Mapping[str, Any]) -> Sequence[str]:
    """The names of a tool's parameters."""
    return list((function.get("parameters") or {}).get("properties") or ())


def is_on(word: str, answer: str) -> bool:
    """``on`` or ``off``.

    :raises TunesmithError: neither.
    """
    if answer not in ("on", "off"):
        raise TunesmithError(f"{word} is on or off, not {answer or 'nothing'}.", f"Write {word} on")
    return answer == "on"


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
