"""Write the text that `tunesmith tiny` trains its tokenizers on: `python tools/make_tiny_text.py`.

The text is put together from the word lists below with a fixed seed, so that running this again changes nothing. It need not
make sense; it has to hold the letters, words, digits, brackets and spaces that small models are tried on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "core" / "src" / "tunesmith" / "tiny_text"


def listed(text: str, border: str = "|") -> list[str]:
    """The words of a list that is written as one string."""
    return text.split(border)


PEOPLE = listed(
    "Ada Bruno Clara Dmitri Elena Farid Grace Hana Ivo Jun Kofi Lena Milan Nadia Omar Petra Quinn Rosa Samir Tova", " "
)
PLACES = listed("Berlin Lagos Lima Oslo Paris Quito Rome Seoul Tokyo Toronto Vienna Warsaw London Madrid Cairo Delhi", " ")
THINGS = listed(
    "book letter lamp window river garden bridge engine mirror basket kettle ladder market hammer museum needle "
    "orange pencil ticket violin wagon blanket candle drawer harbour island jacket kitchen library mountain station",
    " ",
)
KINDS = listed(
    "small large green quiet heavy bright narrow early broken gentle wooden simple careful modern useful old new", " "
)
DOES = listed("finds sells paints carries opens repairs measures describes writes keeps moves borrows remembers draws", " ")
WHEN = listed("today|yesterday|tomorrow|in the morning|after lunch|last week|every day|at night|before dinner|in winter")
WAYS = listed("quickly|slowly|with great care|without a word|for a friend|together with the neighbours|as usual|once more")
MONTHS = listed("January February March April May June July August September October November December", " ")
DAYS = listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday", " ")

ASK = listed(
    "What is the capital of {place}?|Who are you?|Please explain how the {thing} works.|How many {thing}s are in {place}?|"
    "Write a short story about a {kind} {thing}.|Translate this sentence into Chinese.|Summarise the following text.|"
    "What do you think about the {thing}?|Give me three reasons why {person} likes {place}.|Can you help me with the {thing}?|"
    "What is the weather in {place}?|Is it true that the {thing} is {kind}?|Tell me the date of the next {day}."
)
ANSWER = listed(
    "I am a helpful assistant.|Of course. Here is the answer you asked for:|The {thing} is {kind} because it was made so.|"
    "There are {n} of them, as far as I know.|First, look at the {thing}. Second, ask {person}. Finally, write it down.|"
    "I do not know, but I can look it up for you.|You are welcome!|Let me think about it step by step.|"
    "Yes, that is right: the {thing} in {place} is {kind}.|No, it isn't {kind} and it wasn't {kind} before.|"
    "The user asked a question and the system prompt says that I should answer in one sentence."
)

ZH_WHO = listed("我 你 他 她 我们 他们 老师 学生 朋友 医生 工程师 小明 李华 王芳", " ")
ZH_DO = listed("喜欢 看见 打开 修理 学习 使用 研究 介绍 寻找 带来 写完 整理", " ")
ZH_WHAT = listed("模型 数据 语言 书 城市 机器 问题 答案 天气 时间 音乐 电影 文章 代码 图片 苹果", " ")
ZH_HOW = listed("新的 旧的 简单的 复杂的 重要的 有用的 安静的 明亮的", " ")
ZH_WHEN = listed("今天 明天 昨天 早上 晚上 去年 现在 以后", " ")
ZH_SAY = listed(
    "你好，请问你是谁？|我是一个人工智能助手，很高兴为您服务。|请帮我翻译这句话。|谢谢你的帮助！|"
    "人工智能正在改变我们的生活。|请用一句话总结下面的内容。|对不起，我不知道这个问题的答案。|"
    "中国的首都是北京，最大的城市是上海。|下面是一个例子：|首先打开文件，然后读取数据，最后保存结果。|"
    "今年是二零二四年，一月有三十一天。|微调大语言模型需要数据、时间和耐心。"
)

CODE = '''def {name}({arg}: int, {other}: str = "{word}") -> list[int]:
    """Return the {kind} {thing}s."""
    result = []
    for i in range({n}):
        if i % {m} == 0 and {arg} >= {k}:
            result.append(i * {arg} + {m})
        else:
            result.extend([{n}, {m}, {k}])
    return result


class {Word}:
    def __init__(self, {name}: float = {k}.{m}) -> None:
        self.{name} = {name}
        self._{other} = {{"{word}": {n}, "{thing}": None}}

    def {arg}(self) -> bool:
        return self.{name} > 0 and not self._{other}.get("{word}")


import os
from pathlib import Path

print(f"{{os.getcwd()}}: {Word}({n})", len("{thing}"), True, False)
{name} = {Word}({k})
try:
    {other} = {name}.{arg}()
except (KeyError, ValueError) as error:
    raise RuntimeError("{word} failed") from error

SELECT {name}, {other} FROM {thing}s WHERE {arg} = {n} ORDER BY {name} DESC LIMIT {m};
for (let i = 0; i < {n}; i++) {{ console.log(`{word} ${{i}}`); }}
# {Word}

- {thing}: **{kind}**
- {word}: `{name}`

| {name} | {other} |
|---|---|
| {n} | {m} |

'''

FUNCTIONS = {
    "get_weather": {"city": PLACES, "unit": ["celsius", "fahrenheit"]},
    "add": {"a": range(100), "b": range(100)},
    "search": {"query": THINGS, "limit": range(1, 20)},
    "set_timer": {"minutes": range(1, 120)},
    "send_message": {"to": PEOPLE, "text": ["hello", "see you tomorrow", "thank you"]},
    "convert_date": {"date": ["2024-07-26", "1999-12-31"], "format": ["ISO", "long"]},
}


def english(rng: random.Random) -> str:
    """One paragraph."""
    sentences = []
    for _ in range(rng.randint(3, 6)):
        way, when = rng.choice(WAYS), rng.choice(WHEN)
        person, does, kind, thing = (rng.choice(words) for words in (PEOPLE, DOES, KINDS, THINGS))
        sentences.append(f"{person} {does} the {kind} {thing} in {rng.choice(PLACES)} {way} {when}.")
    question, answer = (fill(rng, rng.choice(lines)) for lines in (ASK, ANSWER))
    return " ".join(sentences) + f"\n{question}\n{answer}\n"


def fill(rng: random.Random, line: str) -> str:
    """A line with its gaps filled."""
    words = {"place": PLACES, "thing": THINGS, "kind": KINDS, "person": PEOPLE, "day": DAYS}
    return line.format(n=rng.randint(2, 999), **{gap: rng.choice(choice) for gap, choice in words.items()})


def chinese(rng: random.Random) -> str:
    """One paragraph."""
    lists = (ZH_WHEN, ZH_WHO, ZH_DO, ZH_HOW, ZH_WHAT)
    sentences = ["".join(rng.choice(words) for words in lists) for _ in range(rng.randint(2, 4))]
    return "，".join(sentences) + "。" + rng.choice(ZH_SAY) + "\n"


def code(rng: random.Random) -> str:
    """A stretch of Python with a little of other languages."""
    thing, name, arg, other, word = rng.sample(THINGS, 5)
    return CODE.format(
        thing=thing, name=name, arg=arg, other=other, word=word, Word=word.title(), kind=rng.choice(KINDS),
        n=rng.randint(2, 500), m=rng.randint(2, 20), k=rng.randint(1, 9),
    )  # fmt: skip


def numbers(rng: random.Random) -> str:
    """Sums, dates, times and prices."""
    a, b = rng.randint(0, 99), rng.randint(0, 99)
    year, month, day = rng.randint(1950, 2049), rng.randint(1, 12), rng.randint(1, 28)
    name = MONTHS[month - 1]
    return (
        f"What is {a} plus {b}? {a} + {b} = {a + b}. {a} times {b} is {a * b}; {a} - {b} = {a - b}.\n"
        f"{rng.choice(DAYS)}, {day} {name} {year}, {name} {day}, {year}: {year}-{month:02}-{day:02}, "
        f"{day:02}/{month:02}/{year} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}, {b}.{a:02} EUR, {a}%\n"
    )


def tools(rng: random.Random) -> str:
    """A tool's declaration, a call of it, and its result, in JSON."""
    name = rng.choice(list(FUNCTIONS))
    given = {key: rng.choice(list(values)) for key, values in FUNCTIONS[name].items()}
    kinds = {key: {"type": "integer" if isinstance(value, int) else "string"} for key, value in given.items()}
    parameters = {"type": "object", "properties": kinds, "required": list(given)}
    function = {"name": name, "description": f"Use this to {name.replace('_', ' ')}.", "parameters": parameters}
    lines = ({"type": "function", "function": function}, {"name": name, "arguments": given}, {"result": rng.randint(0, 99)})
    return "".join(json.dumps(line) + "\n" for line in lines)


def write(name: str, make: Callable[[random.Random], str], size: int) -> None:
    """Fill one file with at least ``size`` bytes."""
    rng = random.Random(name)
    text = ""
    while len(text.encode()) < size:
        text += make(rng)
    (FOLDER / f"{name}.txt").write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    """Write every file."""
    FOLDER.mkdir(exist_ok=True)
    write("english", english, 40_000)
    write("chinese", chinese, 20_000)
    write("code", code, 20_000)
    write("numbers", numbers, 16_000)
    write("tools", tools, 20_000)


if __name__ == "__main__":
    main()
