"""Users' rewards: what they are called with beyond the columns, and the process of their own in which they run."""
