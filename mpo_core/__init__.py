"""Meta Plan Optimization as a plain library: plans, episodes, scores, pairs, training, evaluation.

Nothing here imports Ray or vLLM, and only `training/` imports torch.
"""
