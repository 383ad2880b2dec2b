"""Made-up sentences and paragraphs, plausible enough to be read and scored."""

from random import Random

_OPENINGS = ("This week", "Last quarter", "Over the past year", "In most teams", "Looking back", "At our last offsite")
_CLAIMS = (
    "we learned that small pilots beat long roadmaps",
    "the teams with the clearest notes shipped the fastest",
    "customers asked for fewer features and better answers",
    "hiring slowly turned out to be the cheaper way",
    "a shared checklist saved more time than any new tool",
    "measuring response times changed how we plan our week",
    "the best ideas came from the people closest to support",
)
_CLOSINGS = (
    "and it showed in the numbers",
    "which surprised nobody on the ground",
    "so we made it a habit",
    "and we would do it again",
    "although it took longer than planned",
    "and the budget followed",
)
_HEADINGS = ("What stands out", "Strengths", "Where it could improve", "What to do next", "In short")


def sentence(rng: Random) -> str:
    """One short sentence."""
    choice = rng.choice
    return f"{choice(_OPENINGS)} {choice(_CLAIMS)} {choice(_CLOSINGS)}."


def paragraph(rng: Random) -> str:
    """Two to four sentences."""
    return " ".join([sentence(rng) for _ in range(rng.randint(2, 4))])


def markdown(rng: Random, subject: str) -> str:
    """A heading, an opening and three sections about the subject."""
    parts = [f"# {subject}", f"{paragraph(rng)} This is about {subject}."]
    for heading in rng.sample(_HEADINGS, 3):
        parts += [f"## {heading}", paragraph(rng)]
    return "\n\n".join(parts)
