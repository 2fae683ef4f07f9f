"""What a completion looks like: template, language, length and style."""
