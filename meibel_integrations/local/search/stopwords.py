"""Words that say nothing about a question's subject.

``STOP_WORDS`` are left out of queries. ``WEAK_WORDS`` are searched, but a passage that shares only them with the
question is no answer to it. ``GENERIC_WORDS`` suffice only where the question has no better ones.
"""

from __future__ import annotations

STOP_WORDS = frozenset(
    """
    a about above after again all also am an and any anybody anyone anything are aren as at be because been before
    being below between both but by can cannot could couldn d did didn do does doesn doing don down during each else
    ever every few for from further had hadn has hasn have haven having he her here hers herself him himself his how
    i if in into is isn it its itself just let ll m many me more most much mustn my myself no nor not now of off on
    once one only or other ought our ours ourselves out over own please quite rather re really s same shall shan she
    should shouldn since so some somebody someone something such t tell than thank thanks that the their theirs them
    themselves then there these they this those through to too under until up upon us ve very was wasn we were weren
    what whatever when where whether which while who whom whose why will with without won would wouldn yes yet you
    your yours yourself yourselves
    explain describe show mean means meant say says said give gives want wants need needs know like get gets got
    happen happens happened
    """.split()  # noqa: SIM905 - a table to read
)

WEAK_WORDS = frozenset(
    """
    able actually allow allows answer ask best better case cases change come common correct course day describe detail
    details difference different do easily easy example examples exactly fact find first follow following general go
    going good great hello help hi idea important information instead keep kind kinds last little long look lot main
    make makes many matter maybe mention new next nice number often ok okay old part people place point possible
    problem purpose put question quick reason right role see set simple simply sort start stuff sure take thing things
    think time times today tomorrow topic try two type types understand use used useful user using usual usually via
    way ways weather well will work working works world write wrong year yesterday
    """.split()  # noqa: SIM905 - a table to read
)

# Verbs and nouns that go with any subject. They are searched like others, but do not say what a question is about.
GENERIC_WORDS = frozenset(
    """
    access accept add added adding apply avoid begin bring build call called cause causes change changed changes check
    choose combine compare configure configured configuring control convert create created creating customize cost
    declare define defined defining delete deal decide document documentation disable edit enable enabled ensure
    execute fix get guide handle handling happens history implement include init install make manage modify move offer
    override pass perform prepare prevent print produce provide provides reach read receive recommend remove removed
    replace require required return returns run running save see select send serve setup solve specify state stop store
    support supports supported tell test turn update updated write writing written
    """.split()  # noqa: SIM905 - a table to read
)

# Stop words that are also words of programming languages: "the with statement" is about "with".
KEYWORDS = frozenset(
    """
    and as do each else for from if in into is not or over then this until where while with
    """.split()  # noqa: SIM905 - a table to read
)
