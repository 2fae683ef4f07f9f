"""Rollouts from servers: who is asked, in which words, with which adapter."""
