from tunesmith import RewardSpec, hookimpl

from acme_reward.options import BrevityOptions

TUNESMITH_API = (1, 0)

BREVITY = RewardSpec("brevity", "acme_reward.brevity:Brevity", "1 for short answers, less for longer ones.", BrevityOptions)


@hookimpl
def tunesmith_rewards():
    return [BREVITY]
