"""The planner in front of any OpenAI-compatible endpoint, and what callers report of its plans."""
