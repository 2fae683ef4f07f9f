"""Pushing an exported directory to the Hugging Face hub (or the server HF_ENDPOINT names)."""

from pathlib import Path

from grpo.config.sections import ConfigError


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Make the repository if it is not there and upload the directory as one commit; the commit's address.

    The directory is kept either way. Raises ConfigError, one line, if the hub refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Exported by grpo-mlx")
    except Exception as error:  # the client lets through whatever its network and server raise
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(f"{folder} is written, but pushing it to {repository} failed: {reason}") from error
    return str(commit.commit_url)
