"""Learning from callers' feedback (`source: feedback`): what the proxy has kept takes the place of
the episodes that an agent plays here.

    pull      conversations with final feedback -> tasks, plans, episodes, in the run's folder
    learning  what has come since the last round -> scores, pairs, a trained planner
    versions  the planner -> the proxy's folder; a canary is judged by its rewards
    report    the arms' mean rewards
    pipeline  all of it, again and again

A run goes on for as long as the proxy does. Its rounds are its own: each learns from the episodes
that have come since the one before, and is done once.
"""
