"""Twelve prompts over six kinds of task. Model S has 48 tokens or more to say to each, greedily and with its seed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    kind: str
    prompt: str
    seed: int


PARAGRAPH = (
    "The harbour of Lindvik was built in 1874 by fishermen who had lost three boats in one storm. For fifty years it "
    "sheltered the herring fleet. When the herring left, the harbour fell silent, and grass grew between the stones of "
    "the pier. Today it is a museum, and children learn to sail where their great-grandfathers mended nets."
)
ORDERS = (
    "Order 4411: Maria Holt, 3 lamps, Bergen, paid.\n"
    "Order 4412: Jon Aske, 1 table, Oslo, not paid.\n"
    "Order 4413: Ida Lunde, 6 chairs, Bergen, paid.\n"
    "Order 4414: Per Vik, 2 shelves, Molde, not paid."
)
LOOP = (
    "def total_price(items):\n"
    "    total = 0\n"
    "    for item in items:\n"
    "        total = total + item.price * item.count\n"
    "    return total\n"
)

TASKS = (
    Task("chat", "I have one free day in a small town by the sea. What would you do with it, and why?", 11),
    Task("chat", "My neighbour plays the trumpet at night. How can I talk to him about it without a quarrel?", 12),
    Task("coding", "Write a Python function that returns the second largest number of a list, with a docstring.", 13),
    Task("coding", "Write a JavaScript class Stack with the methods push, pop and peek.", 14),
    Task(
        "translation",
        "Translate into French: The train to the mountains leaves at seven in the morning, and we should be at the "
        "station a quarter of an hour earlier, since we still have to buy the tickets and some bread for the journey.",
        15,
    ),
    Task(
        "translation",
        "Translate into Spanish: My grandmother kept bees behind the house. Every summer she gave a jar of honey to "
        "each of the children in our street, and nobody ever complained about the bees again.",
        36,
    ),
    Task("quoting", f"Summarise this text in three sentences:\n\n{PARAGRAPH}", 17),
    Task("quoting", f"Repeat this text word for word:\n\n{PARAGRAPH}", 18),
    Task("editing", f"Write these orders as a JSON list with the fields number, name, goods and city:\n\n{ORDERS}", 19),
    Task("editing", f"Rename the variable total to amount in this code and print all of it:\n\n{LOOP}", 20),
    Task("maths", "A farmer has 48 eggs and packs them into boxes of 6. How many boxes does he fill? Explain it.", 21),
    Task("maths", "What is the sum of the whole numbers from 1 to 20? Show every step of the calculation.", 22),
)
