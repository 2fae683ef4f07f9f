"""A network as the project sees it: loading, adapters, head, logprobs in chunks, frozen models."""
