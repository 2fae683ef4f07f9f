"""`python -m grpo.watch RUN [RUN ...]`: the page of `grpo.report`, live, with every completion. Needs no mlx.

state.py (reads the runs again and again) <- server.py (answers the page) <- __main__.py
"""
