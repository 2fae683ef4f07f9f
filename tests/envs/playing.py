"""A model's part in a conversation, written by a test."""


def played(env, *said, task=None):
    """The replies of a conversation in which the model says these texts (or calls these tools)."""
    talk = env.converse(task or env.tasks("train")[0])
    replies = []
    for number, text in enumerate(said):
        message = {"role": "assistant", "content": "" if isinstance(text, dict) else text}
        if isinstance(text, dict):
            message["tool_calls"] = [{"id": f"call{number:05d}", "type": "function", "function": text}]
        replies.append(talk.reply(message))
    return replies
