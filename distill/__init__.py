"""Corpora, supervised fine-tuning and distilled students on top of grpo."""
