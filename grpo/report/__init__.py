"""`python -m grpo.report RUN [RUN ...]`: a run directory as one self-contained HTML page. Needs no mlx.

reading.py (files -> Run) <- curves.py (numbers -> SVG), panels.py, tables.py, rollouts.py <- page.py <- __main__.py
"""
