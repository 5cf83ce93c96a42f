from dataclasses import dataclass
from typing import Annotated

from tunesmith.options import Range


@dataclass(frozen=True)
class BrevityOptions:
    brevity_words: Annotated[int, "How many words an answer may have and still get the full reward.", Range(least=1)] = 50
