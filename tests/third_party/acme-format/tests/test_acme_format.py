from pathlib import Path

from acme_format.plugin import TRANSCRIPT
from tunesmith.data.conversation import Conversation, Prompt, Text, Turn
from tunesmith.testing import FormatSuite, PluginSuite

CASE = {"case": 17, "talk": ["> My anvil is late.", "> Where is it?", "In Oslo.", "> Thanks.", "Any time."]}
TALK = (
    Turn("user", (Text("My anvil is late.\nWhere is it?"),)),
    Turn("assistant", (Text("In Oslo."),)),
    Turn("user", (Text("Thanks."),)),
    Turn("assistant", (Text("Any time."),)),
)


class TestPlugin(PluginSuite):
    plugin = "acme-format"
    folder = Path(__file__).parents[1]


class TestTranscript(FormatSuite):
    spec = TRANSCRIPT
    cases = (
        ("conversation", CASE, Conversation(TALK)),
        ("prompt", CASE, Prompt(Conversation(TALK[:3]), {"case": 17})),
        ("prompt", {"talk": ["> Hello?"]}, Prompt(Conversation((Turn("user", (Text("Hello?"),)),)))),
    )
    bad = (
        ("conversation", {"talk": ["> Is anybody there?"]}, "talk"),
        ("conversation", {"talk": ["Hello."]}, "talk"),
        ("prompt", {"talk": ["> Hello?", 3]}, "talk"),
    )
