"""Everything Ray: serving, rollout actors, training workers, and what the cluster has room for."""
