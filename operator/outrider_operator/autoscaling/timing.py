"""The loop's times."""

TICK_S = 15.0
# What rates and quantiles are of: long enough for some requests, short enough to follow a surge.
WINDOW_S = 60.0
# A pod whose last answer is older does not answer. One reading that fails is not an outage yet.
FRESH_S = 2.5 * TICK_S
# Of one page.
DEADLINE_S = 5.0
# Figures that have changed are written to the status once in so long.
WRITE_S = 60.0
# Targets that do not say that they have stopped drafting are taken to have, before the last draft goes.
TOLD_S = 120.0
