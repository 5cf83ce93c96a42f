from tunesmith.contracts import Reward

from acme_reward.options import BrevityOptions


class Brevity(Reward):
    """The share of an answer's words that were allowed; 0 for an empty answer."""

    def __init__(self, plan):
        self.words = plan.options(BrevityOptions).brevity_words

    def score(self, prompts, completions, extras):
        return [self.of(len(turn.text.split())) for turn in completions]

    def of(self, words):
        return min(1.0, self.words / words) if words else 0.0
