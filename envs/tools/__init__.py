"""Functions that a model may call: how they are shown, how calls are read, and some that are ready to use."""
