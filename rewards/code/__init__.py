"""The code reward. This file imports nothing: parts of the package run inside the sandbox."""
