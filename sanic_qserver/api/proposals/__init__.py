"""Reviewed submissions: people or agents who may not add propose, others decide."""
