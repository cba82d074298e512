"""The groups below the root."""

from guildhall_client.command.catalogue import COMMANDS, GROUPS, ListedGroup


def _group(name: str) -> ListedGroup:
    return ListedGroup(name, GROUPS[name], help=COMMANDS[name].text)


model = _group("model")
dataset = _group("dataset")
lesson = _group("lesson")
access = _group("access")
loosening = _group("loosening")
audit = _group("audit")
