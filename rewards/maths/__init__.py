"""Final answers of mathematics, compared by value in the trainer's process."""
