"""`python -m grpo.report RUN [RUN ...]`: run directories as one self-contained HTML page. Needs no mlx.

Files -> records: reading.py, stages.py (pipelines); index.py, table.py (completions). Records -> what is shown:
panels.py, families.py and curves.py (drawings), tables.py, tasks.py, spreads.py, story.py, rollouts.py. page.py puts
them through templates/ and adds static/ (assets.py). `grpo.watch` serves the same page.
"""
