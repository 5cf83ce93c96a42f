from pathlib import Path

from acme_reward.options import BrevityOptions
from acme_reward.plugin import BREVITY
from tunesmith.data.conversation import Conversation, Text, Turn
from tunesmith.testing import PluginSuite, RewardSuite

QUESTION = Conversation((Turn("user", (Text("Why?"),)),))


def said(words):
    return Turn("assistant", (Text(" ".join(["word"] * words)),))


class TestPlugin(PluginSuite):
    plugin = "acme-reward"
    folder = Path(__file__).parents[1]


class TestBrevity(RewardSuite):
    spec = BREVITY
    options = (BrevityOptions(brevity_words=4),)
    cases = ((QUESTION, said(4), {}, 1.0), (QUESTION, said(8), {}, 0.5), (QUESTION, said(0), {}, 0.0))
